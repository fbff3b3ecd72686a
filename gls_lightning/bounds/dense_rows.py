"""Rows with a coefficient for every element of the node."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds.rows import Rows


@dataclass(frozen=True)
class DenseRows(Rows):
    """Coefficients over a whole vector or map.

    Attributes:
        values: The coefficients, ``[B|1, P|1, S, K]``.
        shape: Shape of the node without the batch; ``K`` is its number of elements.
        mirrored: See :class:`Rows`.
    """

    values: Tensor
    shape: torch.Size
    mirrored: bool = False

    @override
    def with_values(self, values: Tensor, mirrored: bool) -> "DenseRows":
        return replace(self, values=values, mirrored=mirrored)

    @override
    def split(self, size: int) -> list[Rows]:
        return [replace(self, values=part) for part in self.values.split(size, -2)]

    @override
    def read(self, elements: Tensor) -> Tensor:
        return elements.expand(-1, *self.shape).flatten(1)[:, None, None]

    @override
    def to_dense(self) -> "DenseRows":
        return self

    def reshape(self, shape: torch.Size) -> "DenseRows":
        """The same coefficients for a node of another shape with as many elements."""
        return replace(self, shape=shape)

    def __add__(self, other: Rows) -> "DenseRows":
        if self.mirrored != other.mirrored:
            return self.unmirrored().to_dense() + other.unmirrored()
        return self.with_values(self.values + other.to_dense().values, self.mirrored)
