"""Interval bound propagation."""

from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds import BackSubstitution, Box, Graph, Tensors
from gls_lightning.relaxations.relaxation import Relaxation


class IBP(Relaxation):
    """Interval bound propagation (Gowal et al., 2018; paper, Eq. 3): the cheapest relaxation, and the loosest.

    The last layer is merged with the specification.
    """

    vectorisable = True

    @override
    def __call__(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> Tensor:
        boxes = graph.intervals(tensors, box)
        for name in graph.last_layer:
            del boxes[name]
        return BackSubstitution(graph, tensors, boxes).specification_bounds(specification)

    @override
    def relu_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
        boxes = graph.intervals(tensors, box)
        return {node.name: boxes[node.inputs[0]] for node in graph.activations}
