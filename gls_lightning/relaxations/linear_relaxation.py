"""Relaxations by back-substitution."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import get_args

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.arguments import require
from gls_lightning.bounds import INPUT, BackSubstitution, Box, CountingSubstitution, Graph, LowerSlope, Tensors
from gls_lightning.relaxations.ibp import IBP
from gls_lightning.relaxations.memory import Coefficients, MemoryBudget, chunks_of_nodes
from gls_lightning.relaxations.parts import RelaxationInParts


class LinearRelaxation(RelaxationInParts):
    """A relaxation that writes the specification as linear functions of the input, by back-substitution.

    A subclass bounds the inputs of the activations (``_relax``).

    Args:
        lower_slope: Slope below an unstable ReLU: ``adaptive`` (1 where ``u > -l``, else 0: DeepPoly, CROWN-Ada),
            ``zero``, ``one``, or ``parallel`` to the chord above (Fast-Lin).
        intersect_ibp: Whether each bound is the better one of this relaxation's and of IBP's (auto_LiRPA's
            ``compare_crown_with_ibp``).
        memory_budget: GiB that the coefficients may take, gradients included; ``auto`` is 0.4 of the memory of a GPU,
            and 4 on a CPU.

    Raises:
        ConfigurationError: ``lower_slope`` is no such rule, or ``memory_budget`` is neither positive nor
            ``auto``.
    """

    in_chunks = True

    def __init__(
        self, *, lower_slope: LowerSlope = "adaptive", intersect_ibp: bool = False, memory_budget: MemoryBudget = "auto"
    ) -> None:
        super().__init__(memory_budget=memory_budget)
        rules = get_args(LowerSlope)
        require(lower_slope in rules, "lower_slope", lower_slope, f"one of {', '.join(rules)}")
        self.lower_slope: LowerSlope = lower_slope
        self.intersect_ibp = intersect_ibp

    @abstractmethod
    def _relax(self, substitution: BackSubstitution) -> dict[str, Box]:
        """Bounds the input of each activation and calls ``substitution.relax`` with it; returns the bounds by name."""

    @override
    def preactivation_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
        nothing = box.lower.new_empty(len(box.lower), 1, graph.num_outputs)
        return self._relax(self._substitution(graph, tensors, {INPUT: box}, nothing))

    @override
    def _bound(self, graph: Graph, tensors: Tensors, known: Mapping[str, Box], specification: Tensor) -> Tensor:
        substitution = self._substitution(graph, tensors, known, specification)
        self._relax(substitution)
        lower = substitution.specification_bounds(specification)
        if not self.intersect_ibp:
            return lower
        return torch.maximum(lower, IBP().given_intervals(graph, tensors, substitution.intervals(), specification))

    def _substitution(
        self, graph: Graph, tensors: Tensors, known: Mapping[str, Box], specification: Tensor
    ) -> BackSubstitution:
        chunks = self._chunks(graph, tensors, specification)
        substitution = BackSubstitution(graph, tensors, graph.exact_boxes(tensors, known), chunks)
        substitution.known = {**known, **substitution.boxes}
        return substitution

    def _chunks(self, graph: Graph, tensors: Tensors, specification: Tensor) -> dict[str, int]:
        if specification.device.type != "cpu" or torch.compiler.is_compiling():
            return {}
        samples, rows, _ = specification.shape
        return chunks_of_nodes(samples, self._coefficients(graph, tensors, rows), specification.element_size())

    @override
    def _count(self, graph: Graph, shapes: dict[str, torch.Size], rows: int) -> Coefficients:
        counter = CountingSubstitution(graph, shapes)
        self._relax(counter)
        counter.specification_bounds(torch.empty(1, rows, graph.num_outputs, device="meta"))
        return Coefficients(counter.kept, counter.largest)
