"""Rows of linear functions of one node's output: what back-substitution carries from node to node."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from torch import Tensor

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.lines import Lines
from gls_lightning.bounds.sign_split import contract, sign_split_dot, sign_split_product

if TYPE_CHECKING:
    from gls_lightning.bounds.dense_rows import DenseRows


class Rows(ABC):
    """Coefficients of ``P x S`` linear functions of a node's output, for each sample of a batch.

    ``P`` counts the positions of the map at which the functions start (1 for a vector), ``S`` the functions at each;
    ``K`` counts the elements of the node that a function reads. A leading size of 1 means: the same for all samples,
    or for all positions. Constants that are summed up on the way have the shape ``[B|1, P|1, S]``.

    Attributes:
        values: The coefficients, ``[B|1, P|1, S, K]``.
    """

    values: Tensor

    @abstractmethod
    def with_values(self, values: Tensor) -> Self:
        """These rows with coefficients ``[B|1, P|1, S, K]`` that are products of theirs with what ``read`` returned."""

    @abstractmethod
    def read(self, elements: Tensor) -> Tensor:
        """The elements of the node that each function reads.

        Args:
            elements: A value for each element of the node, ``[B|1, *shape]`` or broadcasting to it.

        Returns:
            ``[B|1, P|1, 1, K]``, 0 where a function reads outside the map.
        """

    @abstractmethod
    def to_dense(self) -> "DenseRows":
        """The same rows with coefficients for every element of the node."""

    @abstractmethod
    def __add__(self, other: "Rows") -> "Rows":
        """The sum of two sets of rows of one node, that came to it on different paths."""

    def multiply(self, factor: Tensor) -> Self:
        """Rows of ``v``, given these of ``v * factor`` (``[B|1, *shape]`` or broadcasting to it)."""
        return self.with_values(self.values * self.read(factor))

    def dot(self, constant: Tensor) -> Tensor:
        """The rows applied to ``constant`` (``[B|1, *shape]`` or broadcasting to it)."""
        return contract(self.values, self.read(constant))

    def relax(self, lines: Lines) -> tuple[Self, Tensor]:
        """Rows of an activation's input whose values, plus a constant, are a lower bound of these rows."""
        lower_slope, lower_offset, upper_slope, upper_offset = map(self.read, lines)
        constant = sign_split_dot(self.values, lower_offset, upper_offset)
        return self.with_values(sign_split_product(self.values, lower_slope, upper_slope)), constant

    def minimum(self, box: Box) -> Tensor:
        """The smallest values of the rows over a box ``[B, *shape]``."""
        return sign_split_dot(self.values, *map(self.read, box))
