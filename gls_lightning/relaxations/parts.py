"""Bounds of a batch in parts that fit a memory budget."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations.relaxation import Relaxation

PEAK_OVER_KEPT = 2
"""Peak memory of a backward pass as a multiple of what the forward pass keeps (measured)."""

_CPU_TENSOR_BYTES = 2**25
"""Larger tensors of relaxations without chunks fall out of the processor's caches (measured: see benchmarks/)."""

Shapes = tuple[tuple[str, torch.Size], ...]
"""Names and shapes of a network's parameters and buffers."""


class Coefficients(NamedTuple):
    """Numbers of coefficients that bounding one sample takes.

    Attributes:
        kept: Those that autograd keeps.
        largest: Those of the largest tensor, by the node whose elements are bounded with it.
    """

    kept: int
    largest: Mapping[str, int]


class RelaxationInParts(Relaxation):
    """Bounds a batch in parts that fit a memory budget; subclasses bound a part and count its coefficients.

    Args:
        memory_budget: GiB that the coefficients may take, gradients included. A batch that needs more is bounded in
            parts, each computed again in the backward pass; inside ``torch.func`` transforms, which do not allow that,
            the budget holds as long as no gradient is taken.

    Raises:
        ConfigurationError: If ``memory_budget`` is not positive.
    """

    vectorisable = True

    def __init__(self, *, memory_budget: float = 4.0) -> None:
        if memory_budget <= 0:
            raise ConfigurationError(f"memory_budget is {memory_budget} GiB; it must be positive")
        self.memory_budget = memory_budget

    @abstractmethod
    def _bound(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> Tensor:
        """The lower bounds of a part of the batch; see :meth:`Relaxation.__call__`."""

    @abstractmethod
    def _count(self, graph: Graph, shapes: dict[str, torch.Size], rows: int) -> Coefficients:
        """Counts the coefficients of one sample with ``rows`` functions of the logits."""

    @override
    def __call__(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> Tensor:
        size, again = self._plan(graph, tensors, specification)

        def bound(lower: Tensor, upper: Tensor, rows: Tensor) -> Tensor:
            return self._bound(graph, tensors, Box(lower, upper), rows)

        parts = zip(box.lower.split(size), box.upper.split(size), specification.split(size), strict=True)
        if again:
            return torch.cat([checkpoint(bound, *p, use_reentrant=False, preserve_rng_state=False) for p in parts])
        return torch.cat([bound(*part) for part in parts])

    def _plan(self, graph: Graph, tensors: Tensors, specification: Tensor) -> tuple[int, bool]:
        """Samples in a part, and whether the parts are to be computed again in the backward pass."""
        samples, rows, _ = specification.shape
        if torch.compiler.is_compiling():  # which plans the memory of what it compiles itself
            return samples, False
        coefficients = self._coefficients(graph, shapes_of(tensors), rows)
        fitting = number_that_fits(self.memory_budget, max(1, coefficients.kept), specification.element_size())
        size = fitting
        if specification.device.type == "cpu":
            size = min(size, self._samples_in_cache(coefficients, specification.element_size()))
        with_gradient = torch.is_grad_enabled() and not torch._C._are_functorch_transforms_active()
        return max(1, min(samples, size)), with_gradient and samples > fitting

    @override
    def coefficients(self, graph: Graph, tensors: Tensors, rows: int) -> int:
        return self._coefficients(graph, shapes_of(tensors), rows).kept

    def _samples_in_cache(self, coefficients: Coefficients, element_size: int) -> int:
        """Samples whose tensors the processor's caches hold (measured: see benchmarks/)."""
        return _CPU_TENSOR_BYTES // (max(coefficients.largest.values()) * element_size)

    @lru_cache(maxsize=64)  # noqa: B019  (relaxations are few and live as long as the program)
    def _coefficients(self, graph: Graph, shapes: Shapes, rows: int) -> Coefficients:
        return self._count(graph, dict(shapes), rows)


def number_that_fits(memory_budget: float, kept: int, element_size: int) -> int:
    """How many things fit a budget in GiB of which autograd keeps so many numbers of so many bytes each."""
    return int(memory_budget * 2**30) // (PEAK_OVER_KEPT * kept * element_size)


def shapes_of(tensors: Tensors) -> Shapes:
    """Names and shapes of a network's parameters and buffers, to look up what was counted for them."""
    return tuple((name, tensor.shape) for name, tensor in tensors.items())
