"""Rows of linear functions of one node's output: what back-substitution carries from node to node."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds.kernels import absolute_dot
from gls_lightning.bounds.rows.functions import AS_GIVEN, Functions


class Rows(ABC):
    """Coefficients of ``P x S`` linear functions of a node's output, for each sample of a batch.

    ``P`` counts the positions of the map at which the functions start (1 for a vector), ``S`` the functions at each;
    ``K`` counts the elements of the node that a function reads. A leading size of 1 means: the same for all samples,
    or for all positions.

    The functions are of the deviations of the elements from reference values (see ``BackSubstitution``), so affine
    operations need no bias.

    Attributes:
        values: The coefficients, ``[B|1, P|1, S, K]``.
        functions: The functions that they are.
    """

    values: Tensor
    functions: Functions

    @abstractmethod
    def with_values(self, values: Tensor, functions: Functions) -> "Rows":
        """Returns these rows with coefficients ``[B|1, P|1, S, K]``, products of theirs with elements from ``read``."""

    @abstractmethod
    def _read(self, elements: Tensor) -> Tensor:
        """Reads like :meth:`read`, for rows that were not chosen one by one."""

    @abstractmethod
    def to_dense(self) -> "DenseRows":
        """Returns the same rows with coefficients for every element of the node."""

    @abstractmethod
    def __add__(self, other: "Rows") -> "Rows":
        """Adds rows that came to the same node on different paths."""

    @property
    def size(self) -> int:
        """Number of coefficients that are stored."""
        return self.values.numel()

    def multiply(self, factor: Tensor) -> "Rows":
        """Writes these rows of ``v * factor`` as rows of ``v``; the factor is ``[B|1, *shape]`` or broadcasts to it."""
        return self.with_values(self.values * self.read(factor), self.functions)

    def read(self, elements: Tensor) -> Tensor:
        """Picks the elements of the node that each function reads.

        Args:
            elements: A value for each element of the node, ``[B|1, *shape]`` or broadcasting to it.

        Returns:
            ``[B|1, P|1, 1, K]``, 0 where a function reads outside the map.
        """
        return self.functions.chosen(self._read(elements))

    def choose(self, samples: Tensor, positions: Tensor, functions: Tensor) -> "Rows":
        """Picks one function at one position of one sample for each row, all given as ``[N]``: a batch of ``N``."""
        sample = samples if len(self.values) > 1 else torch.zeros_like(samples)
        position = positions if self.values.shape[1] > 1 else torch.zeros_like(positions)
        values = self.values[sample, position, functions][:, None, None]
        return self._replaced(values, self.functions._replace(samples=samples, positions=positions))

    def split(self, size: int) -> "list[Rows]":
        """Splits the rows into groups of ``size`` functions."""
        return [self._replaced(part, self.functions) for part in self.values.split(size, -2)]

    def unmirrored(self) -> "Rows":
        """Returns the same functions, the negatives among them with coefficients of their own."""
        if not self.functions.mirrored:
            return self
        return self._replaced(torch.cat([self.values, -self.values], -2), self.functions._replace(mirrored=False))

    def _replaced(self, values: Tensor, functions: Functions) -> "Rows":
        return replace(self, values=values, functions=functions)  # type: ignore[type-var]

    def minimum(self, radius: Tensor) -> Tensor:
        """Minimises the rows, ``[B, P, S]``, where every element is within ``radius [B, *shape]`` of 0."""
        smallest = -absolute_dot(self.values, self.read(radius))
        return torch.cat([smallest, smallest], -1) if self.functions.mirrored else smallest


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
        """Returns rows with the coefficients ``[B|1, P|1, S, *shape]``."""
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
        """Returns the same coefficients for a node of another shape with as many elements."""
        return DenseRows.of(self.elements.flatten(3).unflatten(-1, shape), self.functions)

    def __add__(self, other: Rows) -> "DenseRows":
        if self.functions.mirrored != other.functions.mirrored:
            return self.unmirrored().to_dense() + other.unmirrored()
        return self.with_values(self.values + other.to_dense().values, self.functions)


def _flatten(elements: Tensor, start: int) -> Tensor:
    """Flattens all dimensions from ``start`` on, channels last if these are a map's three."""
    return (elements.movedim(start, -1) if elements.ndim == start + 3 else elements).flatten(start)
