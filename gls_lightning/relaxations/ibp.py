"""Interval bound propagation."""

from torch import Tensor
from typing_extensions import override

from gls_lightning.arguments import require
from gls_lightning.bounds import BackSubstitution, Box, Graph, Node, Tensors
from gls_lightning.bounds.operations import ReLU
from gls_lightning.relaxations.relaxation import Relaxation


class IBP(Relaxation):
    """Interval bound propagation (Gowal et al., 2018; paper, Eq. 3): the cheapest relaxation, and the loosest.

    The last layer is merged with the specification.

    Args:
        relu_shrinkage: Factor in (0, 1] of the upper bound of every unstable ReLU's input, applied before the ReLU (the
            shrinking of SABR, Mueller et al., 2023; CTBench uses 0.8). Below 1 the bounds are not sound and only train;
            ``preactivation_bounds`` are those that reach each ReLU, before its own factor.

    Raises:
        ConfigurationError: If ``relu_shrinkage`` is not in (0, 1].

    Example:
        >>> import torch
        >>> from gls_lightning.bounds import Box, margin_specification, trace
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
        >>> box = Box.around(torch.tensor([[0.2, 0.7]]), epsilon=0.1)
        >>> margins = margin_specification(torch.tensor([0]), num_classes=3)
        >>> IBP()(trace(network, (2,)), network.state_dict(), box, margins).shape
        torch.Size([1, 2])
    """

    vectorisable = True

    def __init__(self, *, relu_shrinkage: float | None = None) -> None:
        factor = 1.0 if relu_shrinkage is None else relu_shrinkage
        require(0 < factor <= 1, "relu_shrinkage", relu_shrinkage, "above 0 and at most 1, or null")
        self.relu_shrinkage = factor
        if factor < 1:
            self.sound = False

    @override
    def __call__(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> Tensor:
        boxes = self._intervals(graph, tensors, box)
        for name in graph.last_layer:
            del boxes[name]
        return BackSubstitution(graph, tensors, boxes).specification_bounds(specification)

    @override
    def preactivation_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
        boxes = self._intervals(graph, tensors, box)
        return {node.name: boxes[node.inputs[0]] for node in graph.activations}

    @override
    def activation_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> Box:
        return self._intervals(graph, tensors, box)[graph.output]

    def _intervals(self, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
        if self.relu_shrinkage == 1:
            return graph.intervals(tensors, box)

        def rule(node: Node, *inputs: Box) -> Box:
            if isinstance(node.operation, ReLU):
                inputs = (_shrunk(inputs[0], self.relu_shrinkage),)
            return node.operation.interval(tensors, *inputs)

        return graph.propagate(box, rule)


def _shrunk(box: Box, factor: float) -> Box:
    """Returns the box with its upper side multiplied by ``factor`` where 0 lies inside."""
    lower, upper = box
    crossing = (lower < 0) & (upper > 0)
    return Box(lower, upper.where(~crossing, factor * upper))
