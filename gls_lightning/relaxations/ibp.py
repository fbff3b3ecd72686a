"""Interval bound propagation."""

from collections.abc import Mapping

from torch import Tensor
from typing_extensions import override

from gls_lightning.arguments import require
from gls_lightning.bounds import INPUT, BackSubstitution, Box, Graph, Node, Tensors
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
        return self._substitution(graph, tensors, {INPUT: box}).specification_bounds(specification)

    @override
    def margins(self, graph: Graph, tensors: Tensors, box: Box, labels: Tensor) -> Tensor:
        return self._substitution(graph, tensors, {INPUT: box}).margin_bounds(labels)

    @override
    def given_intervals(
        self, graph: Graph, tensors: Tensors, intervals: Mapping[str, Box], specification: Tensor
    ) -> Tensor:
        return self._substitution(graph, tensors, intervals).specification_bounds(specification)

    def margin_box(self, graph: Graph, tensors: Tensors, intervals: Mapping[str, Box], labels: Tensor) -> Box:
        """Bounds the margins of the labels ``[B]`` from below and above, ``[B, K - 1]`` each.

        Args:
            graph: The network.
            tensors: Its parameters and buffers.
            intervals: Boxes from :meth:`Graph.intervals`, that of the input at least.
            labels: The class of each sample, ``[B]``.
        """
        return self._substitution(graph, tensors, intervals).margin_box(labels)

    def _substitution(self, graph: Graph, tensors: Tensors, known: Mapping[str, Box]) -> BackSubstitution:
        boxes = self._intervals(graph, tensors, known, last_layer=False)
        return BackSubstitution(graph, tensors, boxes)

    @override
    def preactivation_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
        boxes = self._intervals(graph, tensors, {INPUT: box})
        return {node.name: boxes[node.inputs[0]] for node in graph.activations}

    @override
    def activation_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> Box:
        return self._intervals(graph, tensors, {INPUT: box})[graph.output]

    def _intervals(
        self, graph: Graph, tensors: Tensors, known: Mapping[str, Box], *, last_layer: bool = True
    ) -> dict[str, Box]:
        if self.relu_shrinkage == 1:
            return graph.intervals(tensors, known[INPUT], known, last_layer=last_layer)

        def rule(node: Node, *inputs: Box) -> Box:
            if isinstance(node.operation, ReLU):
                inputs = (_shrunk(inputs[0], self.relu_shrinkage),)
            return node.operation.interval(tensors, *inputs)

        boxes = graph.propagate(known[INPUT], rule)
        return boxes if last_layer else {name: box for name, box in boxes.items() if name not in graph.last_layer}


def _shrunk(box: Box, factor: float) -> Box:
    """Returns the box with its upper side multiplied by ``factor`` where 0 lies inside."""
    lower, upper = box
    crossing = (lower < 0) & (upper > 0)
    return Box(lower, upper.where(~crossing, factor * upper))
