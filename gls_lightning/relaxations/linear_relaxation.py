"""What the relaxations by back-substitution share."""

from abc import abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds import BackSubstitution, Box, CountingSubstitution, Graph, Tensors
from gls_lightning.relaxations.parts import Coefficients, RelaxationInParts


class LinearRelaxation(RelaxationInParts):
    """Bounds the specification by back-substitution to the input; subclasses choose how they bound the ReLUs."""

    @abstractmethod
    def _relax(self, substitution: BackSubstitution) -> dict[str, Box]:
        """Bounds the inputs of the activations and gives ``substitution`` their lines; returns the bounds by name."""

    @override
    def relu_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
        return self._relax(BackSubstitution(graph, tensors, graph.exact_boxes(tensors, box)))

    @override
    def _bound(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> Tensor:
        substitution = BackSubstitution(graph, tensors, graph.exact_boxes(tensors, box))
        self._relax(substitution)
        return substitution.specification_bounds(specification)

    @override
    def _count(self, graph: Graph, shapes: dict[str, torch.Size], rows: int) -> Coefficients:
        counter = CountingSubstitution(graph, shapes)
        self._relax(counter)
        counter.specification_bounds(torch.empty(1, rows, graph.num_outputs, device="meta"))
        return Coefficients(counter.kept, counter.largest)
