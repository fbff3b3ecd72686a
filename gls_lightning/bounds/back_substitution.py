"""Linear bounds by back-substitution (CROWN, DeepPoly)."""

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.dense_rows import DenseRows
from gls_lightning.bounds.graph import INPUT, Graph, Node
from gls_lightning.bounds.lines import Lines, LowerSlope
from gls_lightning.bounds.operations import Activation, AffineOperation, Tensors
from gls_lightning.bounds.patch_rows import PatchRows
from gls_lightning.bounds.rows import Rows


class BackSubstitution:
    """Lower bounds of linear functions of a node, written as functions of nodes before it until those have boxes.

    Args:
        graph: The network.
        tensors: Its parameters and buffers.
        boxes: Boxes at which the substitution stops, by the name of the node; that of the input at least.

    Attributes:
        lines: Lines of the activations relaxed so far, by the name of the node.
    """

    def __init__(self, graph: Graph, tensors: Tensors, boxes: Mapping[str, Box]) -> None:
        self.graph = graph
        self.tensors = tensors
        self.boxes = boxes
        self.lines: dict[str, Lines] = {}

    @property
    def input_box(self) -> Box:
        """The box of the network's inputs."""
        return self.boxes[INPUT]

    def relax(self, node: Node, box: Box, lower_slope: LowerSlope = "adaptive") -> None:
        """Gives an activation its lines over the box of its inputs; to be done in the order of evaluation."""
        assert isinstance(node.operation, Activation)
        self.lines[node.name] = node.operation.lines(box, lower_slope)

    def specification_bounds(self, specification: Tensor) -> Tensor:
        """Lower bounds ``[B, S]`` of linear functions ``[B, S, K]`` of the output's ``K`` elements."""
        rows = DenseRows(specification[:, None], self.graph.nodes[-1].operation.output_shape)
        return self.lower_bounds(self.graph.output, rows).squeeze(1)

    def bounds(self, name: str) -> Box:
        """Lower and upper bounds of every element of a node, ``[B, *shape]`` each."""
        if name in self.boxes:
            return self.boxes[name]
        shape = self.graph.by_name[name].operation.output_shape
        lower, negated_upper = self.lower_bounds(name, self._both_signs(shape)).mT.chunk(2, dim=1)
        return Box(lower.reshape(-1, *shape), -negated_upper.reshape(-1, *shape))

    def _both_signs(self, shape: torch.Size) -> Rows:
        """Every element of a node and its negative; those of a map once for all positions."""
        size = shape[0] if len(shape) == 3 else shape.numel()
        lower = self.input_box.lower
        identity = torch.eye(size, dtype=lower.dtype, device=lower.device)
        both = torch.cat([identity, -identity])
        return PatchRows.identity(both, shape) if len(shape) == 3 else DenseRows(both[None, None], shape)

    def lower_bounds(self, name: str, rows: Rows) -> Tensor:
        """Lower bounds of linear functions of a node's output.

        Args:
            name: The node.
            rows: The functions.

        Returns:
            ``[B, P, S]``.
        """
        pending: dict[str, Rows] = {name: rows}
        constants: list[Tensor] = []
        for node in reversed(self.graph.ancestors(name)):
            if node.name in self.boxes or node.name not in pending:
                continue
            sources, constant = self._step(node, pending.pop(node.name))
            constants.extend([] if constant is None else [constant])
            for source, part in zip(node.inputs, sources, strict=True):
                pending[source] = pending[source] + part if source in pending else part
        constants.extend(part.minimum(self.boxes[source]) for source, part in pending.items())
        return reduce(torch.add, constants)

    def _step(self, node: Node, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        if isinstance(node.operation, Activation):
            relaxed, constant = rows.relax(self.lines[node.name])
            return (relaxed,), constant
        assert isinstance(node.operation, AffineOperation)
        return node.operation.backward(self.tensors, rows)


class CountingSubstitution(BackSubstitution):
    """Counts the coefficients of one sample, on tensors without data ("meta"), to plan the use of memory.

    Args:
        graph: The network.
        shapes: Shapes of its parameters and buffers.

    Attributes:
        kept: Number of coefficients that autograd keeps.
        largest: Number of coefficients in the largest tensor.
    """

    def __init__(self, graph: Graph, shapes: Mapping[str, torch.Size]) -> None:
        tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        side = torch.empty(1, *graph.input_shape, device="meta")
        super().__init__(graph, tensors, graph.exact_boxes(tensors, Box(side, side)))
        self.kept = 0
        self.largest = 0

    def _step(self, node: Node, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        sources, constant = super()._step(node, rows)
        sizes = [part.values.numel() for part in sources]
        self.kept += sum(sizes)
        self.largest = max(self.largest, *sizes)
        return sources, constant
