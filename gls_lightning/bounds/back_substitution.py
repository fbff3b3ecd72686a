"""Linear bounds by back-substitution (CROWN, DeepPoly)."""

from collections.abc import Mapping
from functools import lru_cache, partial, reduce
from math import ceil

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.dense_rows import DenseRows
from gls_lightning.bounds.graph import INPUT, Graph, Node
from gls_lightning.bounds.lines import Lines
from gls_lightning.bounds.operations import Activation, AffineOperation, Tensors
from gls_lightning.bounds.patch_rows import PatchRows
from gls_lightning.bounds.rows import Rows


class BackSubstitution:
    """Lower bounds of linear functions of a node, written as functions of nodes before it until those have boxes.

    Args:
        graph: The network.
        tensors: Its parameters and buffers.
        boxes: Boxes at which the substitution stops, by the name of the node; that of the input at least.
        memory_budget: Bytes that the coefficients of one call may take, gradients included; unlimited if absent. What
            does not fit is done in chunks of rows, each computed again in the backward pass. Inside ``torch.func``
            transforms, which do not allow that, the budget holds only as long as no gradient is taken.

    Attributes:
        lines: Lines of the activations by the name of the node, to be filled in the order of evaluation.
    """

    def __init__(
        self, graph: Graph, tensors: Tensors, boxes: Mapping[str, Box], memory_budget: int | None = None
    ) -> None:
        self.graph = graph
        self.tensors = tensors
        self.boxes = boxes
        self.memory_budget = memory_budget
        self.lines: dict[str, Lines] = {}

    @property
    def input_box(self) -> Box:
        """The box of the network's inputs."""
        return self.boxes[INPUT]

    def specification_bounds(self, specification: Tensor) -> Tensor:
        """Lower bounds ``[B, S]`` of linear functions ``[B, S, K]`` of the network's output."""
        rows = DenseRows(specification[:, None], torch.Size(specification.shape[-1:]))
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
        return _rows(torch.cat([identity, -identity]), shape)

    def lower_bounds(self, name: str, rows: Rows) -> Tensor:
        """Lower bounds of linear functions of a node's output.

        Args:
            name: The node.
            rows: The functions.

        Returns:
            ``[B, P, S]``.
        """
        chunks = self._chunks(name, rows)
        if chunks == 1:
            return self._substitute(name, rows)
        parts = [rows.with_values(values) for values in rows.values.chunk(chunks, dim=2)]
        if torch._C._are_functorch_transforms_active() or not torch.is_grad_enabled():
            return torch.cat([self._substitute(name, part) for part in parts], dim=-1)
        again = partial(checkpoint, self._substitute, name, use_reentrant=False, preserve_rng_state=False)
        return torch.cat([again(part) for part in parts], dim=-1)

    def _substitute(self, name: str, rows: Rows) -> Tensor:
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

    def _chunks(self, name: str, rows: Rows) -> int:
        """Number of parts of the rows of which each keeps to the memory budget."""
        if self.memory_budget is None:
            return 1
        lower = self.input_box.lower
        shapes = tuple((key, tensor.shape) for key, tensor in self.tensors.items())
        elements = _elements_per_row(self.graph, name, shapes) * lower.shape[0]
        count = rows.values.shape[2]
        per_chunk = self.memory_budget // (_TENSORS_KEPT * elements * lower.element_size())
        return ceil(count / min(count, max(1, per_chunk)))


def _rows(values: Tensor, shape: torch.Size) -> Rows:
    """Rows ``[S, C]`` of the channels of a map, or ``[S, N]`` of the elements of a vector."""
    return PatchRows.identity(values, shape) if len(shape) == 3 else DenseRows(values[None, None], shape)


_TENSORS_KEPT = 2
"""Coefficients alive at the peak of a backward pass, as a multiple of what the forward pass keeps (measured)."""


class _RowCounter(BackSubstitution):
    """Counts the coefficients that one row gives rise to on its way to the input."""

    elements = 0

    def _step(self, node: Node, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        sources, constant = super()._step(node, rows)
        self.elements += sum(part.values.numel() for part in sources)
        return sources, constant


@lru_cache(maxsize=1024)
def _elements_per_row(graph: Graph, name: str, shapes: tuple[tuple[str, torch.Size], ...]) -> int:
    empty = partial(torch.empty, device="meta")
    box = Box(empty(1, *graph.input_shape), empty(1, *graph.input_shape))
    tensors = {key: empty(shape) for key, shape in shapes}
    counter = _RowCounter(graph, tensors, graph.exact_boxes(tensors, box))
    for node in graph.activations:
        counter.lines[node.name] = Lines(*[empty(1, *node.operation.output_shape)] * 4)
    shape = graph.by_name[name].operation.output_shape
    counter._substitute(name, _rows(empty(1, shape[0] if len(shape) == 3 else shape.numel()), shape))
    return counter.elements
