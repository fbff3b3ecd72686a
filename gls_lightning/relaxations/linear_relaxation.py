"""What the relaxations by back-substitution share."""

from abc import abstractmethod
from typing import get_args

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds import BackSubstitution, Box, CountingSubstitution, Graph, LowerSlope, Tensors
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations.ibp import IBP
from gls_lightning.relaxations.parts import Coefficients, RelaxationInParts, shapes_of


class LinearRelaxation(RelaxationInParts):
    """Bounds the specification by back-substitution to the input; subclasses choose how they bound the ReLUs.

    Args:
        lower_slope: Slope below an unstable ReLU: ``adaptive`` (1 where ``u > -l``, else 0: DeepPoly, CROWN-Ada),
            ``zero``, ``one``, or ``parallel`` to the chord above (Fast-Lin).
        intersect_ibp: Whether each bound is the better one of this relaxation's and of IBP's (auto_LiRPA's
            ``compare_crown_with_ibp``).
        memory_budget: GiB that the coefficients may take, gradients included.

    Raises:
        ConfigurationError: If ``lower_slope`` is no such rule, or ``memory_budget`` is not positive.
    """

    def __init__(
        self, *, lower_slope: LowerSlope = "adaptive", intersect_ibp: bool = False, memory_budget: float = 4.0
    ) -> None:
        super().__init__(memory_budget=memory_budget)
        if lower_slope not in get_args(LowerSlope):
            raise ConfigurationError(f"lower_slope is {lower_slope!r}; it must be one of {get_args(LowerSlope)}")
        self.lower_slope: LowerSlope = lower_slope
        self.intersect_ibp = intersect_ibp

    @abstractmethod
    def _relax(self, substitution: BackSubstitution) -> dict[str, Box]:
        """Bounds the inputs of the activations and gives ``substitution`` their lines; returns the bounds by name."""

    @override
    def preactivation_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
        nothing = box.lower.new_empty(len(box.lower), 1, graph.num_outputs)
        return self._relax(self._substitution(graph, tensors, box, nothing))

    @override
    def _bound(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> Tensor:
        substitution = self._substitution(graph, tensors, box, specification)
        self._relax(substitution)
        lower = substitution.specification_bounds(specification)
        return torch.maximum(lower, IBP()(graph, tensors, box, specification)) if self.intersect_ibp else lower

    def _substitution(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> BackSubstitution:
        chunks = self._chunks(graph, tensors, specification)
        return BackSubstitution(graph, tensors, graph.exact_boxes(tensors, box), chunks)

    @override
    def _count(self, graph: Graph, shapes: dict[str, torch.Size], rows: int) -> Coefficients:
        counter = CountingSubstitution(graph, shapes)
        self._relax(counter)
        counter.specification_bounds(torch.empty(1, rows, graph.num_outputs, device="meta"))
        return Coefficients(counter.kept, counter.largest)

    @override
    def _samples_in_cache(self, coefficients: Coefficients, element_size: int) -> int:
        sizes = [*coefficients.largest.values()] or [1]  # nothing, where all operations act on single elements
        of_output, largest = sizes[-1], max(sizes)
        return max(1, min(_CPU_TENSOR_BYTES // of_output, _MOST_CHUNKS * _CPU_TENSOR_BYTES // largest) // element_size)

    def _chunks(self, graph: Graph, tensors: Tensors, specification: Tensor) -> dict[str, int]:
        """In how many chunks the elements of each node are bounded, so that the processor's caches hold a tensor."""
        if specification.device.type != "cpu" or torch.compiler.is_compiling():
            return {}
        samples, rows, _ = specification.shape
        limit = _CPU_TENSOR_BYTES // specification.element_size()
        largest = self._coefficients(graph, shapes_of(tensors), rows).largest
        return {name: -(-samples * size // limit) for name, size in largest.items()}


_CPU_TENSOR_BYTES = 2**24
"""Larger coefficient tensors fall out of the processor's caches (measured: see benchmarks/)."""

_MOST_CHUNKS = 8
"""Chunks in which the elements of a node are bounded, beyond which fewer samples are bounded at a time (likewise)."""
