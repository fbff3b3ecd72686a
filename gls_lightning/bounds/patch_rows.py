"""Rows with coefficients for a window of a map only: convolutions of convolutions."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds.dense_rows import DenseRows
from gls_lightning.bounds.rows import Rows
from gls_lightning.bounds.windows import Windows


@dataclass(frozen=True)
class PatchRows(Rows):
    """Coefficients over one window of a map for each position at which the functions start.

    Attributes:
        values: The coefficients, ``[B|1, P|1, S, C * kh * kw]``.
        windows: Which window belongs to which position.
        clean: Whether the coefficients are known to be 0 where a window reaches over the edge.
        mirrored: See :class:`Rows`.
    """

    values: Tensor
    windows: Windows
    clean: bool
    mirrored: bool = False

    @classmethod
    def identity(cls, values: Tensor, shape: torch.Size, mirrored: bool = False) -> "PatchRows":
        """The rows ``values [S, C]`` of the channels at every position of a map ``(C, H, W)``."""
        channels, height, width = shape
        windows = Windows((channels, height, width), (1, 1), (1, 1), (0, 0), (height, width))
        return cls(values[None, None], windows, True, mirrored)

    @override
    def with_values(self, values: Tensor, mirrored: bool) -> "PatchRows":
        # `read` gives 0 over the edge, and so does any product with it.
        return replace(self, values=values, clean=True, mirrored=mirrored)

    @override
    def split(self, size: int) -> list[Rows]:
        return [replace(self, values=part) for part in self.values.split(size, -2)]

    @override
    def read(self, elements: Tensor) -> Tensor:
        if elements.shape[2:] == (1, 1) and self.clean:
            return elements.expand(-1, self.windows.shape[0], *self.windows.kernel).flatten(1)[:, None, None]
        return self.windows.extract(elements.expand(-1, *self.windows.shape))[:, :, None]

    def cleaned(self) -> "PatchRows":
        """The same rows with zeros where a window reaches over the edge."""
        if self.clean:
            return self
        ones = self.values.new_ones(1, *self.windows.shape)
        return self.with_values(self.values * self.windows.extract(ones)[:, :, None], self.mirrored)

    @override
    def to_dense(self) -> DenseRows:
        values = self.values.expand(-1, self.windows.num_positions, -1, -1)
        return DenseRows.of(self.windows.scatter(values), self.mirrored)

    def __add__(self, other: Rows) -> Rows:
        if self.mirrored != other.mirrored:
            return self.unmirrored() + other.unmirrored()
        if not isinstance(other, PatchRows) or other.windows.stride != self.windows.stride:
            return self.to_dense() + other
        larger = self.windows.enlarged(other.windows)
        values = self.windows.pad(self.values, larger) + other.windows.pad(other.values, larger)
        return PatchRows(values, larger, self.clean and other.clean, self.mirrored)
