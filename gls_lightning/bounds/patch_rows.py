"""Rows with coefficients for a window of a map only: convolutions of convolutions."""

from dataclasses import dataclass, replace
from typing import Self

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
    """

    values: Tensor
    windows: Windows
    clean: bool

    @classmethod
    def identity(cls, values: Tensor, shape: torch.Size) -> "PatchRows":
        """The rows ``values [S, C]`` of the channels at every position of a map ``(C, H, W)``."""
        channels, height, width = shape
        windows = Windows((channels, height, width), (1, 1), (1, 1), (0, 0), (height, width))
        return cls(values[None, None], windows, clean=True)

    @override
    def with_values(self, values: Tensor) -> Self:
        return replace(self, values=values, clean=True)  # `read` gives 0 over the edge, and so does any product with it

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
        return PatchRows(self.values * self.windows.extract(ones)[:, :, None], self.windows, clean=True)

    @override
    def to_dense(self) -> DenseRows:
        values = self.values.expand(-1, self.windows.num_positions, -1, -1)
        return DenseRows(self.windows.scatter(values), torch.Size(self.windows.shape))

    def __add__(self, other: Rows) -> Rows:
        if not isinstance(other, PatchRows) or other.windows.stride != self.windows.stride:
            return self.to_dense() + other
        larger = self.windows.enlarged(other.windows)
        values = self.windows.pad(self.values, larger) + other.windows.pad(other.values, larger)
        return PatchRows(values, larger, self.clean and other.clean)
