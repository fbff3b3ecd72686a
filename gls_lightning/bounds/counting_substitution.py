"""The number of coefficients that a back-substitution takes."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds.back_substitution import BackSubstitution, Chosen
from gls_lightning.bounds.box import Box
from gls_lightning.bounds.graph import Graph
from gls_lightning.bounds.graph_structure import INPUT, Node
from gls_lightning.bounds.rows import Rows


class CountingSubstitution(BackSubstitution):
    """Counts the coefficients of one sample, on tensors without data ("meta"), to plan the use of memory.

    Args:
        graph: The network.
        shapes: Shapes of its parameters and buffers.

    Attributes:
        kept: Number of coefficients that autograd keeps.
        largest: Number of coefficients in the largest tensor, by the node whose functions were bounded.
    """

    def __init__(self, graph: Graph, shapes: Mapping[str, torch.Size]) -> None:
        tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        side = torch.empty(1, *graph.input_shape, device="meta")
        graph = replace(graph, rigorous=False)  # which counts no other coefficients
        super().__init__(graph, tensors, graph.exact_boxes(tensors, {INPUT: Box(side, side)}))
        self.kept = 0
        self.largest: dict[str, int] = {}
        self._start = ""

    @override
    def bounds_where(self, wanted: Tensor, name: str, otherwise: Box, largest_share: float = 1.0) -> Box:
        return self.bounds(name)  # at most all are wanted

    @override
    def _lower_deviations(self, name: str, rows: Rows, chosen: Chosen | None = None) -> list[Tensor]:
        self._start = name
        return super()._lower_deviations(name, rows, chosen)

    @override
    def _step(self, node: Node, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        sources, constant = super()._step(node, rows)
        sizes = [part.size for part in sources]
        self.kept += sum(sizes)
        self.largest[self._start] = max(self.largest.get(self._start, 1), *sizes)
        return sources, constant
