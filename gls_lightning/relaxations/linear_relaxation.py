"""What the relaxations by back-substitution share."""

from abc import abstractmethod
from typing import get_args

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds import BackSubstitution, Box, CountingSubstitution, Graph, LowerSlope, Tensors
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations.ibp import IBP
from gls_lightning.relaxations.parts import Coefficients, RelaxationInParts


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
        self, *, lower_slope: LowerSlope = "adaptive", intersect_ibp: bool = False, memory_budget: float = 2.0
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
    def relu_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
        return self._relax(BackSubstitution(graph, tensors, graph.exact_boxes(tensors, box)))

    @override
    def _bound(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> Tensor:
        chunks = self._chunks(graph, tensors, specification)
        substitution = BackSubstitution(graph, tensors, graph.exact_boxes(tensors, box), chunks)
        self._relax(substitution)
        lower = substitution.specification_bounds(specification)
        return torch.maximum(lower, IBP()(graph, tensors, box, specification)) if self.intersect_ibp else lower

    @override
    def _count(self, graph: Graph, shapes: dict[str, torch.Size], rows: int) -> Coefficients:
        counter = CountingSubstitution(graph, shapes)
        self._relax(counter)
        counter.specification_bounds(torch.empty(1, rows, graph.num_outputs, device="meta"))
        return Coefficients(counter.kept, counter.largest)
