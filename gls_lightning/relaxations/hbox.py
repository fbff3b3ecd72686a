"""HBox."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds import INPUT, BackSubstitution, Box, Graph, Node, Scale, Tensors, Zonotope, per_sample
from gls_lightning.bounds.operations import Activation
from gls_lightning.bounds.rows import Rows
from gls_lightning.relaxations.memory import Coefficients
from gls_lightning.relaxations.parts import RelaxationInParts


class HBox(RelaxationInParts):
    """HBox: hybrid zonotopes (Mirman et al., 2018) through affine layers, intervals through unstable ReLUs.

    Affine maps are exact for the linear dependence on the input; an unstable ReLU cuts it and leaves an interval, a
    stable one keeps it (paper, Section 2). No looser than IBP. All layers behind the last activation are merged with
    the specification.

    Args:
        memory_budget: GiB that the coefficients may take, gradients included; ``auto`` is 0.4 of the memory of a GPU,
            and 4 on a CPU. A batch that needs more is bounded in parts, each computed again in the backward pass.

    Example:
        The first layer copies ``x``, and the second subtracts one copy from the other:

        >>> from torch import nn, ones, tensor, zeros
        >>> from gls_lightning.bounds import Box, trace
        >>> layers = nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False), nn.ReLU(), nn.Linear(1, 2)
        >>> tensors = {"0.weight": ones(2, 1), "1.weight": tensor([[1.0, -1.0]])}
        >>> HBox().preactivation_bounds(trace(nn.Sequential(*layers), (1,)), tensors, Box(zeros(1, 1), ones(1, 1)))
        {'2': Box(lower=tensor([[0.]]), upper=tensor([[0.]]))}
    """

    @override
    def preactivation_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
        zonotopes = _zonotopes(graph, tensors, box)
        return {node.name: zonotopes[node.inputs[0]].bounds for node in graph.activations}

    @override
    def _bound(self, graph: Graph, tensors: Tensors, known: Mapping[str, Box], specification: Tensor) -> Tensor:
        zonotopes = _zonotopes(graph, tensors, known[INPUT])
        boxes = {name: zonotope.box for name, zonotope in zonotopes.items()}
        independent = BackSubstitution(graph, tensors, boxes).specification_bounds(specification)
        return independent + _ErrorSubstitution(graph, tensors, zonotopes).specification_deviations(specification)

    @override
    def _count(self, graph: Graph, shapes: dict[str, torch.Size], rows: int) -> Coefficients:
        tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        side = torch.empty(1, *graph.input_shape, device="meta")
        zonotopes = _zonotopes(graph, tensors, Box(side, side))
        slots = {name: zonotope.errors.values.shape[1] for name, zonotope in zonotopes.items()}
        sizes = [
            slots[node.name] * shape.numel()
            for node in graph.nodes
            if node.name in slots
            for shape in (node.operation.output_shape, *node.operation.input_shapes)
        ]
        return Coefficients(sum(sizes), {graph.output: max(sizes, default=1)})


def _zonotopes(graph: Graph, tensors: Tensors, box: Box) -> dict[str, Zonotope]:
    """Computes the hybrid zonotopes of the input, the activations and all that they depend on."""
    needed = {node for activation in graph.activations for node in graph.ancestors(activation.name)}
    zonotopes = {INPUT: Zonotope.of_input(box)}
    for node in graph.nodes:
        if node in needed:
            inputs = [zonotopes[name] for name in node.inputs]
            zonotope = node.operation.zonotope(tensors, *inputs)
            zonotopes[node.name] = _widened(graph, tensors, node, inputs, zonotope) if graph.rigorous else zonotope
    return zonotopes


def _widened(graph: Graph, tensors: Tensors, node: Node, inputs: Sequence[Zonotope], zonotope: Zonotope) -> Zonotope:
    """Returns the zonotope with a box that makes up for the rounding of box and errors."""
    boxes = [zonotope.bounds for zonotope in inputs]
    output = node.operation.interval(tensors, *boxes) if isinstance(node.operation, Activation) else zonotope.box
    scale = node.operation.rounding(tensors, boxes, output)
    return zonotope if scale is None else replace(zonotope, box=zonotope.box.widened(graph.error(scale)))


class _ErrorSubstitution(BackSubstitution):
    """The part of linear functions of the output that depends on the input, cut where the zonotopes are."""

    def __init__(self, graph: Graph, tensors: Tensors, zonotopes: dict[str, Zonotope]) -> None:
        radius = zonotopes[INPUT].input_radius
        super().__init__(graph, tensors, {INPUT: Box(-radius, radius)})
        self.zonotopes = zonotopes

    @override
    def _step(self, node: Node, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        if isinstance(node.operation, Activation):
            (source,) = node.inputs
            slope, _, _ = node.operation.exact_line(self.zonotopes[source].bounds)
            rows = rows.multiply(slope)
            radius = self.error(source).expand_as(slope) if self.graph.rigorous else None
            return (rows,), None if radius is None else rows.minimum(radius)
        return super()._step(node, rows)

    @override
    def _find_scale(self, name: str) -> Scale:
        if name != INPUT and isinstance(self.graph.by_name[name].operation, Activation):
            bounds = self.zonotopes[name].bounds
            values = per_sample(3 * bounds.largest, bounds.lower.ndim - 1)
            return values, torch.zeros_like(values)
        return super()._find_scale(name)
