"""Rows with coefficients for a window of a map only: convolutions of convolutions."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds._windows import Windows
from gls_lightning.bounds.rows.functions import AS_GIVEN, Functions
from gls_lightning.bounds.rows.rows import DenseRows, Rows


@dataclass(frozen=True)
class PatchRows(Rows):
    """Coefficients over one window of a map for each position at which the functions start.

    Attributes:
        values: The coefficients, ``[B|1, P|1, S, C * kh * kw]``.
        windows: Which window belongs to which position.
        clean: Whether the coefficients are known to be 0 where a window reaches over the edge.
        functions: See :class:`Rows`.
    """

    values: Tensor
    windows: Windows
    clean: bool
    functions: Functions = AS_GIVEN

    @classmethod
    def identity(cls, values: Tensor, shape: torch.Size, functions: Functions = AS_GIVEN) -> "PatchRows":
        """Returns the rows ``values [S, C]`` of the channels at every position of a map ``(C, H, W)``."""
        channels, height, width = shape
        windows = Windows((channels, height, width), (1, 1), (1, 1), (0, 0), (height, width))
        return cls(values[None, None], windows, True, functions)

    @override
    def with_values(self, values: Tensor, functions: Functions) -> "PatchRows":
        # `read` gives 0 over the edge, and so does any product with it.
        return replace(self, values=values, clean=True, functions=functions)

    @override
    def _read(self, elements: Tensor) -> Tensor:
        if elements.shape[2:] == (1, 1) and self.clean:
            return elements.expand(-1, self.windows.shape[0], *self.windows.kernel).flatten(1)[:, None, None]
        return self.windows.extract(elements.expand(-1, *self.windows.shape))[:, :, None]

    def cleaned(self) -> "PatchRows":
        """Returns the same rows with zeros where a window reaches over the edge."""
        if self.clean:
            return self
        ones = self.values.new_ones(1, *self.windows.shape)
        return self.with_values(self.values * self.read(ones), self.functions)

    @override
    def to_dense(self) -> DenseRows:
        positions = self.functions.positions
        values = self.values.expand(-1, self.windows.num_positions, -1, -1) if positions is None else self.values
        return DenseRows.of(self.windows.scatter(values, positions), self.functions)

    def __add__(self, other: Rows) -> Rows:
        if self.functions.mirrored != other.functions.mirrored:
            return self.unmirrored() + other.unmirrored()
        if not isinstance(other, PatchRows) or other.windows.stride != self.windows.stride:
            return self.to_dense() + other
        larger = self.windows.enlarged(other.windows)
        values = self.windows.pad(self.values, larger) + other.windows.pad(other.values, larger)
        return PatchRows(values, larger, self.clean and other.clean, self.functions)
