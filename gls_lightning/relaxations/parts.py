"""Bounds of a batch in parts that fit a memory budget."""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from gls_lightning.bounds import INPUT, Box, Graph, ShapeInference, Tensors, current_buckets, fixed_sizes
from gls_lightning.private_names import of_torch
from gls_lightning.relaxations.memory import Coefficients, MemoryBudget, gibibytes, parts_of_batch, require_budget
from gls_lightning.relaxations.relaxation import Relaxation

Shapes = tuple[tuple[str, torch.Size], ...]
"""Names and shapes of a network's parameters and buffers."""


class RelaxationInParts(Relaxation):
    """A relaxation that keeps coefficients, and bounds a batch in parts that fit a memory budget.

    A subclass bounds a part (``_bound``) and counts the coefficients of a sample (``_count``).

    Args:
        memory_budget: GiB that the coefficients may take, gradients included; ``auto`` is 0.4 of the memory of a GPU,
            and 4 on a CPU. A batch that needs more is bounded in parts, each computed again in the backward pass;
            inside ``torch.func`` transforms, which do not allow that, the budget holds as long as no gradient is taken.

    Raises:
        ConfigurationError: ``memory_budget`` is neither positive nor ``auto``.
    """

    vectorisable = True
    in_chunks = False
    """True if ``_bound`` divides large nodes into chunks by itself."""

    def __init__(self, *, memory_budget: MemoryBudget = "auto") -> None:
        require_budget(memory_budget)
        self.memory_budget = memory_budget

    @abstractmethod
    def _bound(self, graph: Graph, tensors: Tensors, known: Mapping[str, Box], specification: Tensor) -> Tensor:
        """Bounds a part of the batch, of which the input's box is known; see :meth:`Relaxation.given_intervals`."""

    @abstractmethod
    def _count(self, graph: Graph, shapes: dict[str, torch.Size], rows: int) -> Coefficients:
        """Counts the coefficients of one sample with ``rows`` functions of the logits."""

    @override
    def __call__(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> Tensor:
        return self._in_parts(graph, tensors, {INPUT: box}, specification)

    @override
    def given_intervals(
        self, graph: Graph, tensors: Tensors, intervals: Mapping[str, Box], specification: Tensor
    ) -> Tensor:
        return self._in_parts(graph, tensors, intervals, specification)

    def _in_parts(self, graph: Graph, tensors: Tensors, intervals: Mapping[str, Box], specification: Tensor) -> Tensor:
        size, again = self._plan(graph, tensors, specification)

        buckets = current_buckets() if again else None

        def bound(known: Mapping[str, Box], rows: Tensor) -> Tensor:
            # A part may be computed again in a thread that does not know the context.
            with nullcontext() if buckets is None else fixed_sizes(buckets):
                return self._bound(graph, tensors, known, rows)

        boxes = zip(*(box.split(size) for box in intervals.values()), strict=True)
        known = (dict(zip(intervals, part, strict=True)) for part in boxes)
        parts = zip(known, specification.split(size), strict=True)
        if again:
            return torch.cat([checkpoint(bound, *p, use_reentrant=False, preserve_rng_state=False) for p in parts])
        return torch.cat([bound(*part) for part in parts])

    @override
    def coefficients(self, graph: Graph, tensors: Tensors, rows: int) -> int:
        return self._coefficients(graph, tensors, rows).kept

    def _plan(self, graph: Graph, tensors: Tensors, specification: Tensor) -> tuple[int, bool]:
        """Returns the samples in a part, and whether the backward pass is to compute the parts again."""
        samples, rows, _ = specification.shape
        if torch.compiler.is_compiling():  # which plans the memory of what it compiles itself
            return samples, False
        parts = parts_of_batch(
            samples,
            self._coefficients(graph, tensors, rows),
            gibibytes(self.memory_budget, specification.device),
            specification.element_size(),
            on_cpu=specification.device.type == "cpu",
            in_chunks=self.in_chunks,
        )
        can_compute_again = torch.is_grad_enabled() and not of_torch.transforms_are_active()
        return parts.size, parts.exceeds_budget and can_compute_again

    def _coefficients(self, graph: Graph, tensors: Tensors, rows: int) -> Coefficients:
        return self._counted(graph, tuple((name, tensor.shape) for name, tensor in tensors.items()), rows)

    @lru_cache(maxsize=64)  # noqa: B019  (relaxations are few and live as long as the program)
    def _counted(self, graph: Graph, shapes: Shapes, rows: int) -> Coefficients:
        with ShapeInference():
            return self._count(graph, dict(shapes), rows)
