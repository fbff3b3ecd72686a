"""Rows with a coefficient for every element of the node."""

from dataclasses import dataclass, replace
from typing import Self

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
    """

    values: Tensor
    shape: torch.Size

    @override
    def with_values(self, values: Tensor) -> Self:
        return replace(self, values=values)

    @override
    def read(self, elements: Tensor) -> Tensor:
        return elements.expand(-1, *self.shape).flatten(1)[:, None, None]

    @override
    def to_dense(self) -> "DenseRows":
        return self

    def reshape(self, shape: torch.Size) -> "DenseRows":
        """The same coefficients for a node of another shape with as many elements."""
        return DenseRows(self.values, shape)

    def __add__(self, other: Rows) -> "DenseRows":
        return self.with_values(self.values + other.to_dense().values)
