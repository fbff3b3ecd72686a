"""Linear bounds by back-substitution (CROWN, DeepPoly)."""

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.buckets import current_buckets
from gls_lightning.bounds.graph import Graph
from gls_lightning.bounds.graph_structure import Node
from gls_lightning.bounds.operations import Activation, AffineOperation, Convolution, Linear, Tensors
from gls_lightning.bounds.relaxed_network import RelaxedNetwork
from gls_lightning.bounds.rounding import smallest
from gls_lightning.bounds.rows import AS_GIVEN, DenseRows, Functions, PatchRows, Rows, relax_rows
from gls_lightning.bounds.specification import margin_specification, other_classes
from gls_lightning.private_names import of_torch

Chosen = tuple[Tensor, Tensor, Tensor]
"""Sample, position and function of each row, ``[N]`` each."""


class BackSubstitution(RelaxedNetwork):
    """Lower bounds of linear functions of a node, written as functions of nodes before it until those have boxes.

    The functions are of the deviations from reference values. Affine operations then add no constants, activations
    only the distance between their lines, and a box of no width gives the network's value as it is. For a rigorous
    graph the bounds hold in spite of rounding.

    Args:
        graph: The network.
        tensors: Its parameters and buffers.
        boxes: Boxes at which the substitution stops, by the name of the node; that of the input at least.
        chunks: How many chunks the elements of a node are bounded in, by the name of the node; 1 where absent.

    Attributes:
        multipliers: Numbers ``[B, *shape]`` by the name of an activation whose inputs, times these, are added to every
            function: the Lagrange multipliers of constraints on their signs (beta-CROWN, Wang et al., 2021).
    """

    def __init__(
        self, graph: Graph, tensors: Tensors, boxes: Mapping[str, Box], chunks: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(graph, tensors, boxes)
        self.chunks = chunks or {}
        self.multipliers: dict[str, Tensor] = {}

    def with_lower_slopes(self, slopes: Mapping[str, Tensor]) -> "BackSubstitution":
        """Returns the same substitution with other slopes ``[B, *shape]`` below the activations, by their names.

        Neither reference values nor rounding errors depend on these, and those that are known are shared.
        """
        other = BackSubstitution(self.graph, self.tensors, self.boxes, self.chunks)
        other.references, other.extents = self.references, self.extents
        other.scales, other.distances = self.scales, self.distances
        other.lines = {name: line._replace(lower_slope=slopes[name]) for name, line in self.lines.items()}
        return other

    def specification_bounds(self, specification: Tensor) -> Tensor:
        """Bounds linear functions ``[B, S, K]`` of the output's ``K`` elements from below: ``[B, S]``."""
        return self._specification_reference(specification) + self.specification_deviations(specification)

    def specification_deviations(self, specification: Tensor) -> Tensor:
        """Bounds the same functions less their reference values from below: ``[B, S]``, not positive."""
        (deviations,) = self._specification_deviations(specification, AS_GIVEN)
        return deviations

    def specification_box(self, specification: Tensor) -> Box:
        """Bounds the same functions from below and above, ``[B, S]`` each, with rows for one of the two."""
        reference = self._specification_reference(specification)
        below, negated_above = self._specification_deviations(specification, Functions(mirrored=True))
        return Box(reference + below, reference - negated_above)

    def margin_bounds(self, labels: Tensor) -> Tensor:
        """Bounds the margins of the labels ``[B]`` from below, ``[B, K - 1]``, as of ``margin_specification``.

        Differences of the rows of a last linear layer take the place of products with it, which are slow for many
        classes.
        """
        if not self._ends_in_linear:
            return self.specification_bounds(self._margins(labels))
        margins, (below,) = self._margin_deviations(labels, AS_GIVEN)
        return (margins + below).gather(1, other_classes(labels, self.graph.num_outputs))

    def margin_box(self, labels: Tensor) -> Box:
        """Bounds the same margins from below and above, ``[B, K - 1]`` each, with rows for one of the two."""
        if not self._ends_in_linear:
            return self.specification_box(self._margins(labels))
        margins, (below, negated_above) = self._margin_deviations(labels, Functions(mirrored=True))
        others = other_classes(labels, self.graph.num_outputs)
        return Box((margins + below).gather(1, others), (margins - negated_above).gather(1, others))

    @property
    def _ends_in_linear(self) -> bool:
        return isinstance(self.graph.nodes[-1].operation, Linear) and self.graph.output not in self.boxes

    def _margins(self, labels: Tensor) -> Tensor:
        return margin_specification(labels, self.graph.num_outputs, self.input_box.lower.dtype)

    def _margin_deviations(self, labels: Tensor, functions: Functions) -> tuple[Tensor, list[Tensor]]:
        """Computes reference values of the margins over all classes, the label's own too, and bounds deviations."""
        last, logits = self.graph.nodes[-1], self.reference(self.graph.output)
        assert isinstance(last.operation, Linear)
        weight = self.tensors[last.operation.weight]
        # The label's own row, 0, is there too, and rows are picked by a product, whose gradients are no scattering.
        of_label = torch.eye(len(weight), dtype=weight.dtype, device=weight.device).index_select(0, labels)
        rows = ((of_label @ weight)[:, None] - weight)[:, None]
        deviations = self._sides(last.inputs[0], DenseRows(rows, last.operation.input_shapes[0], functions))
        if self.graph.rigorous:
            error = 2 * self.error(last.name).flatten(1).amax(1)[:, None]
            deviations = [side - error - smallest(error.dtype) for side in deviations]
        return logits.gather(1, labels[:, None]) - logits, deviations

    def _specification_reference(self, specification: Tensor) -> Tensor:
        return (specification @ self.reference(self.graph.output).flatten(1).unsqueeze(-1)).squeeze(-1)

    def _specification_deviations(self, specification: Tensor, functions: Functions) -> list[Tensor]:
        """Bounds deviations of the functions, and for mirrored ones those of their negatives: ``[B, S]`` each."""
        elements = specification[:, None].unflatten(-1, self.graph.nodes[-1].operation.output_shape)
        deviations = self._sides(self.graph.output, DenseRows.of(elements, functions))
        if not self.graph.rigorous:
            return deviations
        error = self.error(self.graph.output).flatten(1).amax(1)[:, None] * specification.abs().sum(-1)
        return [side - error - smallest(error.dtype) for side in deviations]  # the latter if rows are tiny

    def _sides(self, name: str, rows: DenseRows) -> list[Tensor]:
        """Bounds deviations of functions of a node, and for mirrored ones those of their negatives: ``[B, S]`` each."""
        sides = 1 + rows.functions.mirrored
        chunks = (part.squeeze(1).chunk(sides, -1) for part in self._lower_deviations(name, rows))
        return [torch.cat(side, -1) for side in zip(*chunks, strict=True)]

    def bounds(self, name: str) -> Box:
        """Bounds every element of a node from below and above, ``[B, *shape]`` each."""
        if name in self.boxes:
            return self.boxes[name]
        shape = self._shape(name)
        chunks = [part.mT.chunk(2, 1) for part in self._lower_deviations(name, self._identity(shape))]
        below, negated_above = (torch.cat(side, 1).reshape(-1, *shape) for side in zip(*chunks, strict=True))
        reference = self.reference(name)
        box = Box(reference + below, reference - negated_above)
        return box.widened(self.error(name)) if self.graph.rigorous else box

    def bounds_where(self, wanted: Tensor, name: str, otherwise: Box, largest_share: float = 1.0) -> Box:
        """Bounds some elements of a node, at a cost in proportion to their number where it can be read.

        Under ``torch.func.vmap`` and in recorded or compiled steps, all elements are bounded, unless a size is given
        (:func:`fixed_sizes`).

        Args:
            wanted: Which elements of which samples, ``[B, *shape]``, bool.
            name: The node; some activation stands before it.
            otherwise: The box of the other elements.
            largest_share: The share of wanted elements beyond which bounding all of them is faster.
        """
        chosen = _chosen(wanted, name, largest_share)
        if chosen is None:
            box = self.bounds(name)
            return Box(*(torch.where(wanted, *sides) for sides in zip(box, otherwise, strict=True)))
        return self._bounds_of(chosen, name, otherwise) if len(chosen) else otherwise

    def _bounds_of(self, chosen: Tensor, name: str, otherwise: Box) -> Box:
        """Bounds the elements with these indices ``[N]`` among all of all samples; an index past the last is none."""
        shape, elements = self._shape(name), otherwise.lower.numel()
        read = chosen.clamp_max(elements - 1)
        samples, element = read // shape.numel(), read % shape.numel()
        per_function = shape.numel() // shape[0] if len(shape) == 3 else 1
        parts = min(self.chunks.get(name, 1) * len(read) // elements + 1, len(read))
        triples = zip(*(i.tensor_split(parts) for i in (samples, element)), strict=True)
        rows = self._identity(shape)
        changes = [
            self._lower_deviations(name, rows, (i, e % per_function, e // per_function))[0].squeeze(1)
            for i, e in triples
        ]
        below, negated_above = torch.cat(changes).unbind(-1)
        reference = self.reference(name).flatten().index_select(0, read)
        if self.graph.rigorous:
            error = self.error(name).expand_as(otherwise.lower).flatten()[read]
            below, negated_above = below - error, negated_above - error
        new = reference + below, reference - negated_above
        # Padding is written behind the last element.
        sides = (
            F.pad(old.flatten(), (0, 1)).scatter(0, chosen, side)[:-1].view_as(old)
            for old, side in zip(otherwise, new, strict=True)
        )
        return Box(*sides)

    def _shape(self, name: str) -> torch.Size:
        return self.graph.by_name[name].operation.output_shape

    def _identity(self, shape: torch.Size) -> Rows:
        """Returns rows of every element of a node and its negative; those of a map once for all positions."""
        size = shape[0] if len(shape) == 3 else shape.numel()
        identity = torch.eye(size, dtype=self.input_box.lower.dtype, device=self.input_box.lower.device)
        mirrored = Functions(mirrored=True)
        if len(shape) == 3:
            return PatchRows.identity(identity, shape, mirrored)
        return DenseRows(identity[None, None], shape, mirrored)

    def _lower_deviations(self, name: str, rows: Rows, chosen: Chosen | None = None) -> list[Tensor]:
        """Bounds linear functions of the deviations of a node's output from below.

        Args:
            name: The node.
            rows: The functions.
            chosen: Sample, position and function of the only rows to be bounded; all are if absent.

        Returns:
            ``[B, P, S]``, in chunks of ``S``; ``[N, 1, S]`` for ``N`` chosen rows.
        """
        nodes = [node for node in reversed(self.graph.ancestors(name)) if node.name not in self.boxes]
        first = next((i for i, node in enumerate(nodes) if isinstance(node.operation, Activation)), len(nodes))
        pending: dict[str, Rows] = {name: rows}
        self._descend(nodes[:first], pending)  # up to the first activation, the rows are the same for all samples
        if chosen is not None:
            groups = [{source: part.choose(*chosen) for source, part in pending.items()}]
        elif first < len(nodes):
            groups = _split(pending, self.chunks.get(name, 1))
        else:
            groups = [pending]
        return [self._minimum(nodes[first:], group) for group in groups]

    def _minimum(self, nodes: Sequence[Node], pending: dict[str, Rows]) -> Tensor:
        constants = self._descend(nodes, pending)
        return reduce(torch.add, constants + [part.minimum(self._radius(name)) for name, part in pending.items()])

    def _radius(self, name: str) -> Tensor:
        """Returns the largest distance of the elements of a box from its centre."""
        radius = self.boxes[name].radius
        return radius + self.error(name) if self.graph.rigorous else radius

    def _descend(self, nodes: Sequence[Node], pending: dict[str, Rows]) -> list[Tensor]:
        """Writes the rows, by the name of their node, as rows of what comes before ``nodes``; returns constants."""
        constants: list[Tensor] = []
        for node in nodes:
            if node.name not in pending:
                continue
            rows = pending.pop(node.name)
            joined = self._joint_step(node, rows)
            node, (sources, constant) = joined or (node, self._step(node, rows))
            constants.extend([] if constant is None else [constant])
            for source, part in zip(node.inputs, sources, strict=True):
                pending[source] = pending[source] + part if source in pending else part
        return constants

    def _joint_step(self, node: Node, rows: Rows) -> tuple[Node, tuple[tuple[Rows, ...], Tensor]] | None:
        """Goes back through an activation and the convolution before it, which the result names, in one step.

        This is done where nothing else sees the convolution, and where it is faster: on CUDA.
        """
        source = self.graph.by_name.get(node.inputs[0]) if node.name in self.lines else None
        if source is None or not isinstance(source.operation, Convolution) or source.name in self.boxes:
            return None
        seen_elsewhere = sum(source.name in other.inputs for other in self.graph.nodes) > 1
        if seen_elsewhere or node.name in self.multipliers:
            return None
        joined = source.operation.backward_relaxed(self.tensors, rows, self.band(node))
        return None if joined is None else (source, joined)

    def _step(self, node: Node, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        if isinstance(node.operation, Activation):
            relaxed, constant = relax_rows(rows, self.band(node))
            if node.name in self.multipliers:
                multiplier = self.multipliers[node.name]
                relaxed = relaxed + DenseRows.of(multiplier[:, None, None])
                constant = constant + (multiplier * self.reference(node.inputs[0])).flatten(1).sum(1)[:, None, None]
                if self.graph.rigorous:
                    error = self.error(node.inputs[0]) * multiplier.abs()
                    constant = constant - error.flatten(1).sum(1)[:, None, None]
            return (relaxed,), constant
        assert isinstance(node.operation, AffineOperation)
        return node.operation.backward(self.tensors, rows), None


def _split(pending: dict[str, Rows], chunks: int) -> list[dict[str, Rows]]:
    size = -(-next(iter(pending.values())).values.shape[2] // chunks)
    parts = zip(*(rows.split(size) for rows in pending.values()), strict=True)
    return [dict(zip(pending, part, strict=True)) for part in parts]


def _chosen(wanted: Tensor, name: str, largest_share: float) -> Tensor | None:
    """Finds the indices of the elements to bound in ``wanted.flatten()``, or None if all are to be bounded."""
    if torch.compiler.is_compiling() or of_torch.vmap_is_active():
        return None
    buckets = current_buckets()
    if buckets is not None:
        return buckets.chosen(name, wanted)
    if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
        return None
    chosen = wanted.flatten().nonzero().squeeze(1)
    return chosen if len(chosen) <= largest_share * wanted.numel() else None
