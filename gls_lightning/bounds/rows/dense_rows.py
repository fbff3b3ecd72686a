"""Rows with a coefficient for every element of the node."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds.rows.rows import AS_GIVEN, Functions, Rows


@dataclass(frozen=True)
class DenseRows(Rows):
    """Coefficients over a whole vector or map.

    Attributes:
        values: The coefficients, ``[B|1, P|1, S, K]``; those of a map with the channels last, in which order
            convolutions are fastest.
        shape: Shape of the node without the batch; ``K`` is its number of elements.
        functions: See :class:`Rows`.
    """

    values: Tensor
    shape: torch.Size
    functions: Functions = AS_GIVEN

    @classmethod
    def of(cls, elements: Tensor, functions: Functions = AS_GIVEN) -> "DenseRows":
        """Rows with the coefficients ``[B|1, P|1, S, *shape]``."""
        return cls(_flatten(elements, 3), elements.shape[3:], functions)

    @property
    def elements(self) -> Tensor:
        """The coefficients in the shape of the node, ``[B|1, P|1, S, *shape]``."""
        if len(self.shape) < 3:
            return self.values
        channels, height, width = self.shape
        channels_last: Tensor = self.values.unflatten(-1, (height, width, channels))
        return channels_last.movedim(-1, -3)

    @override
    def with_values(self, values: Tensor, functions: Functions) -> "DenseRows":
        return replace(self, values=values, functions=functions)

    @override
    def _read(self, elements: Tensor) -> Tensor:
        return _flatten(elements.expand(-1, *self.shape), 1)[:, None, None]

    @override
    def to_dense(self) -> "DenseRows":
        return self

    def reshape(self, shape: torch.Size) -> "DenseRows":
        """The same coefficients for a node of another shape with as many elements."""
        return DenseRows.of(self.elements.flatten(3).unflatten(-1, shape), self.functions)

    def __add__(self, other: Rows) -> "DenseRows":
        if self.functions.mirrored != other.functions.mirrored:
            return self.unmirrored().to_dense() + other.unmirrored()
        return self.with_values(self.values + other.to_dense().values, self.functions)


def _flatten(elements: Tensor, start: int) -> Tensor:
    """Flattens all dimensions from ``start`` on, channels last if these are a map's three."""
    return (elements.movedim(start, -1) if elements.ndim == start + 3 else elements).flatten(start)
