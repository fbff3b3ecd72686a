"""A network with lines in place of its activations."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.graph import Graph
from gls_lightning.bounds.graph_structure import INPUT, Node
from gls_lightning.bounds.lines import Band, Lines, LowerSlope
from gls_lightning.bounds.operations import Activation, AffineOperation, Tensors
from gls_lightning.bounds.rounding import largest, per_sample, smallest

Scale = tuple[Tensor, Tensor]
"""Bounds of a node's values and reference values with their distance, and of their errors in units of gamma.

Both ``[B, *shape]`` or broadcasting to it.
"""


class RelaxedNetwork:
    """A network with lines below and above each activation, and a reference value of every element.

    The reference values are those that the network takes at the centre of the box if every activation follows the line
    above it. Linear bounds are written for deviations from them.

    For a rigorous graph it also knows what rounding may do. A unit coefficient of an element may lose to rounding, from
    the last box or activation on, at most ``gamma`` times the node's scale: a bound of values, reference values, their
    distance, and errors in units of gamma. The lines of the next activation move apart by as much.

    Args:
        graph: The network.
        tensors: Its parameters and buffers.
        boxes: Known boxes by the name of the node, that of the input at least.

    Attributes:
        known: Boxes by intervals that need not be found again, by the name of the node.
        lines: Lines of the activations relaxed so far, by the name of the node.
        references: The reference values needed so far, by the name of the node.
        extents: For a rigorous graph, the largest absolute input and output over the box of each activation in
            ``lines``, ``[B]`` each, by its name.
        scales: Bounds of values and, in units of gamma, of errors at the nodes needed so far, by name.
        distances: How far the lines of activations have moved, ``[B, *shape]``, by the name of the node.
    """

    def __init__(self, graph: Graph, tensors: Tensors, boxes: Mapping[str, Box]) -> None:
        self.graph = graph
        self.tensors = tensors
        self.boxes = boxes
        self.known: Mapping[str, Box] = boxes
        self._intervals: Mapping[str, Box] = {}
        self.lines: dict[str, Lines] = {}
        self._bands: dict[str, Band] = {}
        self.references: dict[str, Tensor] = {}
        self.extents: dict[str, tuple[Tensor, Tensor]] = {}
        self.scales: dict[str, Scale] = {}
        self.distances: dict[str, Tensor] = {}

    def intervals(self) -> Mapping[str, Box]:
        """Returns boxes of all nodes but those of the last layer by intervals; they are found once."""
        if not self._intervals:
            self._intervals = self.graph.intervals(self.tensors, self.input_box, self.known, last_layer=False)
        return self._intervals

    @property
    def input_box(self) -> Box:
        """The box of the network's inputs."""
        return self.boxes[INPUT]

    def reference(self, name: str) -> Tensor:
        """Returns the node's reference value, ``[B, *shape]``."""
        for node in self.graph.ancestors(name):
            if node.name in self.references or node.name in self.boxes:
                continue
            if node.name in self.lines:
                self.references[node.name] = self.band(node).centre
            else:
                inputs = map(self._known_reference, node.inputs)
                self.references[node.name] = node.operation.evaluate(self.tensors, *inputs)
        return self._known_reference(name)

    def _known_reference(self, name: str) -> Tensor:
        if name not in self.references:
            self.references[name] = self.boxes[name].centre
        return self.references[name]

    @torch.no_grad()
    def error(self, name: str) -> Tensor:
        """Bounds the effect of rounding on rows that read one element of the node, for a rigorous graph.

        Returns:
            ``[B, *shape]`` or broadcasting to it.
        """
        values, errors = self._scale(name)
        return self.graph.error(values + errors)

    def _scale(self, name: str) -> Scale:
        if name not in self.scales:
            values, errors = self._find_scale(name)
            # What is lost below the smallest normal number counts as an error, which later operations multiply.
            self.scales[name] = values, errors + smallest(values.dtype) / self.graph.gamma(values.dtype)
        return self.scales[name]

    def _find_scale(self, name: str) -> Scale:
        if name in self.boxes:
            values = per_sample(3 * self.boxes[name].largest, self.boxes[name].lower.ndim - 1)
            return values, torch.zeros_like(values)
        node = self.graph.by_name[name]
        if isinstance(node.operation, AffineOperation):
            return self._pass_scale(node.operation, [self._scale(source) for source in node.inputs])
        reference = self.reference(name)
        _, of_output = self.extents[name]
        values = per_sample(of_output + 2 * largest(reference), reference.ndim - 1)
        return values, torch.zeros_like(values)

    def _pass_scale(self, operation: AffineOperation, scales: Sequence[Scale]) -> Scale:
        """Returns the scale behind an affine operation, which passes errors on and rounds the terms of its values."""
        inputs = [
            torch.cat([part.flatten(1).amax(1) for part in (values, values + errors)]) for values, errors in scales
        ]
        magnitude = operation.magnitude(self.tensors, *inputs)
        slack = 1 + 4 * self.graph.gamma(magnitude.dtype)
        values, errors = (slack * magnitude).expand(len(inputs[0]), *magnitude.shape[1:]).chunk(2)
        return values, errors

    def band(self, node: Node) -> Band:
        """Returns the lines of an activation around the reference value of its input."""
        if node.name not in self._bands:
            band = self.lines[node.name].around(self.reference(node.inputs[0]))
            if self.graph.rigorous:
                band = band.widened(self._distance(node), self.graph.gamma(band.gap.dtype))
            self._bands[node.name] = band
        return self._bands[node.name]

    @torch.no_grad()
    def _distance(self, node: Node) -> Tensor:
        """Returns how far the lines of an activation move apart, for rounding errors of its input and of their own."""
        if node.name not in self.distances:
            assert isinstance(node.operation, Activation)
            steepness = node.operation.steepness(self.lines[node.name])
            of_input, _ = self.extents[node.name]
            of_lines = self.graph.error(per_sample(of_input, steepness.ndim - 1))
            error = torch.maximum(self.error(node.inputs[0]), of_lines)
            self.distances[node.name] = error * steepness + smallest(steepness.dtype)
        return self.distances[node.name]

    def relax(self, node: Node, box: Box, lower_slope: LowerSlope = "adaptive") -> None:
        """Gives an activation its lines over the box of its inputs; to be done in the order of evaluation."""
        assert isinstance(node.operation, Activation)
        self.lines[node.name] = node.operation.lines(box, lower_slope)
        if self.graph.rigorous:
            self.extents[node.name] = box.largest, node.operation.interval(self.tensors, box).largest
