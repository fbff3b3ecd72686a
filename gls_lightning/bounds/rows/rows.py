"""Rows of linear functions of one node's output: what back-substitution carries from node to node."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gls_lightning.bounds.lines import Band
from gls_lightning.bounds.sign_split import absolute_dot, contract, relax

if TYPE_CHECKING:
    from gls_lightning.bounds.rows.dense_rows import DenseRows


class Functions(NamedTuple):
    """Which functions rows stand for.

    Attributes:
        mirrored: Whether for those that the coefficients give and then, once more, for their negatives: upper bounds
            need them, and up to the first activation they have the same coefficients.
        samples: If each row was chosen by itself, the sample that it belongs to, ``[N]``; the rows then form a batch
            of ``N``.
        positions: The position of each such row, ``[N]``.
    """

    mirrored: bool = False
    samples: Tensor | None = None
    positions: Tensor | None = None


AS_GIVEN = Functions()
"""Those that the coefficients give, for every sample at every position."""


class Rows(ABC):
    """Coefficients of ``P x S`` linear functions of a node's output, for each sample of a batch.

    ``P`` counts the positions of the map at which the functions start (1 for a vector), ``S`` the functions at each;
    ``K`` counts the elements of the node that a function reads. A leading size of 1 means: the same for all samples,
    or for all positions.

    The functions are of the deviations of the elements from reference values (see ``BackSubstitution``), so affine
    operations need no bias.

    Attributes:
        values: The coefficients, ``[B|1, P|1, S, K]``.
        functions: Which functions they are.
    """

    values: Tensor
    functions: Functions

    @abstractmethod
    def with_values(self, values: Tensor, functions: Functions) -> "Rows":
        """These rows with coefficients ``[B|1, P|1, S, K]`` that are products of theirs with what ``read`` returned."""

    @abstractmethod
    def _read(self, elements: Tensor) -> Tensor:
        """See :meth:`read`, for rows that were not chosen one by one."""

    @abstractmethod
    def to_dense(self) -> "DenseRows":
        """The same rows with coefficients for every element of the node."""

    @abstractmethod
    def __add__(self, other: "Rows") -> "Rows":
        """The sum of two sets of rows of one node, that came to it on different paths."""

    @property
    def size(self) -> int:
        """Number of coefficients that are stored."""
        return self.values.numel()

    def multiply(self, factor: Tensor) -> "Rows":
        """Rows of ``v``, given these of ``v * factor`` (``[B|1, *shape]`` or broadcasting to it)."""
        return self.with_values(self.values * self.read(factor), self.functions)

    def read(self, elements: Tensor) -> Tensor:
        """The elements of the node that each function reads.

        Args:
            elements: A value for each element of the node, ``[B|1, *shape]`` or broadcasting to it.

        Returns:
            ``[B|1, P|1, 1, K]``, 0 where a function reads outside the map.
        """
        return _chosen(self._read(elements), self.functions)

    def choose(self, samples: Tensor, positions: Tensor, functions: Tensor) -> "Rows":
        """The rows of one function at one position for one sample each, all given as ``[N]``: a batch of ``N``."""
        sample = samples if len(self.values) > 1 else torch.zeros_like(samples)
        position = positions if self.values.shape[1] > 1 else torch.zeros_like(positions)
        values = self.values[sample, position, functions][:, None, None]
        return self._replaced(values, self.functions._replace(samples=samples, positions=positions))

    def split(self, size: int) -> "list[Rows]":
        """The rows in groups of ``size`` functions."""
        return [self._replaced(part, self.functions) for part in self.values.split(size, -2)]

    def unmirrored(self) -> "Rows":
        """The same functions, the negatives among them with coefficients of their own."""
        if not self.functions.mirrored:
            return self
        return self._replaced(torch.cat([self.values, -self.values], -2), self.functions._replace(mirrored=False))

    def _replaced(self, values: Tensor, functions: Functions) -> "Rows":
        return replace(self, values=values, functions=functions)  # type: ignore[type-var]

    def relax(self, band: Band) -> tuple["Rows", Tensor]:
        """Rows of an activation's input whose values, plus a constant, are a lower bound of these rows.

        Args:
            band: The activation's lines around the reference.

        Returns:
            The rows, no longer mirrored, and the constants ``[B, P, S]``, twice ``S`` where these rows are mirrored.
        """
        slope, narrowing, gap = self.read(band.slope), self.read(band.narrowing), self.read(band.gap)
        if self.functions.mirrored:
            from gls_lightning.bounds.rows.factored_rows import FactoredRows

            constants = contract(self.values.clamp_min(0), gap), contract(-self.values.clamp_max(0), gap)
            return FactoredRows(self, slope + narrowing / 2, narrowing / 2), -torch.cat(constants, -1)
        values, constant = relax(self.values, slope, narrowing, gap)
        return self.with_values(values, self.functions), constant

    def minimum(self, radius: Tensor) -> Tensor:
        """The smallest values of the rows, ``[B, P, S]``, where every element is within ``radius [B, *shape]`` of 0."""
        smallest = -absolute_dot(self.values, self.read(radius))
        return torch.cat([smallest, smallest], -1) if self.functions.mirrored else smallest


def _chosen(read: Tensor, functions: Functions) -> Tensor:
    """What rows chosen one by one read ``[N, 1, 1, K]``, of what all of them read ``[B|1, P|1, 1, K]``."""
    if functions.samples is None or functions.positions is None or read.shape[:2] == (1, 1):
        return read
    samples = functions.samples if len(read) > 1 else torch.zeros_like(functions.samples)
    positions = functions.positions if read.shape[1] > 1 else torch.zeros_like(functions.positions)
    return read[samples, positions][:, None]
