"""What the relaxations by back-substitution share."""

from abc import abstractmethod
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from gls_lightning.bounds import BackSubstitution, Box, CountingSubstitution, Graph, Tensors
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations.relaxation import Relaxation

_CPU_TENSOR_BYTES = 2**23
"""Larger coefficient tensors fall out of the processor's caches (measured: see benchmarks/)."""

_PEAK_OVER_KEPT = 2
"""Peak memory of a backward pass as a multiple of what the forward pass keeps (measured)."""


class LinearRelaxation(Relaxation):
    """Bounds the specification by back-substitution to the input; subclasses choose how they bound the ReLUs.

    Args:
        memory_budget: GiB that the coefficients may take, gradients included. A batch that needs more is bounded in
            parts, each computed again in the backward pass; inside ``torch.func`` transforms, which do not allow that,
            the budget holds as long as no gradient is taken.

    Raises:
        ConfigurationError: If ``memory_budget`` is not positive.
    """

    def __init__(self, *, memory_budget: float = 2.0) -> None:
        if memory_budget <= 0:
            raise ConfigurationError(f"memory_budget is {memory_budget} GiB; it must be positive")
        self.memory_budget = memory_budget

    @abstractmethod
    def _relax(self, substitution: BackSubstitution) -> dict[str, Box]:
        """Bounds the inputs of the activations and gives ``substitution`` their lines; returns the bounds by name."""

    @override
    def __call__(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> Tensor:
        size, again = self._plan(graph, tensors, specification)

        def bound(lower: Tensor, upper: Tensor, rows: Tensor) -> Tensor:
            substitution = BackSubstitution(graph, tensors, graph.exact_boxes(tensors, Box(lower, upper)))
            self._relax(substitution)
            return substitution.specification_bounds(rows)

        parts = zip(box.lower.split(size), box.upper.split(size), specification.split(size), strict=True)
        if again:
            return torch.cat([checkpoint(bound, *p, use_reentrant=False, preserve_rng_state=False) for p in parts])
        return torch.cat([bound(*part) for part in parts])

    @override
    def relu_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
        return self._relax(BackSubstitution(graph, tensors, graph.exact_boxes(tensors, box)))

    def _plan(self, graph: Graph, tensors: Tensors, specification: Tensor) -> tuple[int, bool]:
        """Samples in a part, and whether the parts are to be computed again in the backward pass."""
        samples, rows, _ = specification.shape
        if torch.compiler.is_compiling():  # which plans the memory of what it compiles itself
            return samples, False
        shapes = tuple((name, tensor.shape) for name, tensor in tensors.items())
        kept, largest = (n * specification.element_size() for n in self._coefficients(graph, shapes, rows))
        budget = int(self.memory_budget * 2**30) // _PEAK_OVER_KEPT
        size = budget // kept
        if specification.device.type == "cpu":
            size = min(size, _CPU_TENSOR_BYTES // largest)
        with_gradient = torch.is_grad_enabled() and not torch._C._are_functorch_transforms_active()
        return max(1, min(samples, size)), with_gradient and samples * kept > budget

    @lru_cache(maxsize=64)  # noqa: B019  (relaxations are few and live as long as the program)
    def _coefficients(self, graph: Graph, shapes: tuple[tuple[str, torch.Size], ...], rows: int) -> tuple[int, int]:
        """Numbers of coefficients of a sample that autograd keeps, and of those in the largest tensor."""
        counter = CountingSubstitution(graph, dict(shapes))
        self._relax(counter)
        counter.specification_bounds(torch.empty(1, rows, graph.num_outputs, device="meta"))
        return max(1, counter.kept), max(1, counter.largest)
