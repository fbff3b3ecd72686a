"""Parts of boxes in which some ReLU inputs have a given sign."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.certification.branch_and_bound.question import largest_functions
from gls_lightning.certification.point_values import values_from_above


@dataclass(frozen=True)
class Subdomains:
    """A batch of subdomains, each with a group of functions whose largest is to be bounded from below.

    Attributes:
        graph: The network, with ReLUs as its only activations; rigorous where bounds are to be proofs.
        tensors: Its parameters and buffers.
        box: The input boxes, each side ``[B, *input]``.
        relu_box: Bounds of the inputs of all ``N`` ReLUs side by side over the whole box, each side ``[B, N]``.
        signs: 1 where a split makes a ReLU active, -1 where it makes it dead, 0 elsewhere, ``[B, N]``, int8.
        rows: The functions' coefficients, ``[B, m, K]``.
        offsets: Their constants, ``[B, m]``.
    """

    graph: Graph
    tensors: Tensors
    box: Box
    relu_box: Box
    signs: Tensor
    rows: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.signs)

    @cached_property
    def split_relu_box(self) -> Box:
        """Bounds of the ReLU inputs over the subdomains, each side ``[B, N]``."""
        lower, upper = self.relu_box
        return Box(
            torch.where(self.signs > 0, lower.clamp_min(0), lower),
            torch.where(self.signs < 0, upper.clamp_max(0), upper),
        )

    @cached_property
    def unstable(self) -> Tensor:
        """Marks ReLUs of an unknown sign that matters, ``[B, N]``."""
        return (self.signs == 0) & (self.relu_box.lower < -_NEGLIGIBLE) & (self.relu_box.upper > _NEGLIGIBLE)

    def by_relu(self, values: Tensor) -> dict[str, Tensor]:
        """Splits values ``[B, N]`` of all ReLUs into ``[B, *shape]`` by the name of each."""
        shapes = {name: self.graph.by_name[name].operation.output_shape for name in self.graph.relus}
        parts = values.split([shape.numel() for shape in shapes.values()], 1)
        return {name: part.unflatten(1, shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

    def select(self, rows: Tensor) -> "Subdomains":
        """Picks some of the subdomains, by their positions."""
        return replace(
            self,
            box=Box(*(side[rows] for side in self.box)),
            relu_box=Box(*(side[rows] for side in self.relu_box)),
            signs=self.signs[rows],
            rows=self.rows[rows],
            offsets=self.offsets[rows],
        )

    def split_at(self, relus: Tensor, signs: Tensor) -> "Subdomains":
        """Returns the parts where one more ReLU of each, at ``relus [B]``, has the sign ``signs [B]``."""
        return replace(self, signs=self.signs.scatter(1, relus[:, None], signs[:, None]))

    def float(self) -> "Subdomains":
        """Returns the same in float32, for uses that need not be exact."""
        return replace(
            self,
            graph=replace(self.graph, rigorous=False),
            tensors={name: t.float() if t.is_floating_point() else t for name, t in self.tensors.items()},
            box=Box(*(side.float() for side in self.box)),
            relu_box=Box(*(side.float() for side in self.relu_box)),
            rows=self.rows.float(),
            offsets=self.offsets.float(),
        )

    def largest(self, points: Tensor) -> Tensor:
        """Evaluates the largest function of each group at ``points [B, *input]``, ``[B]``."""
        return largest_functions(self.rows, self.offsets, self.graph(self.tensors, points))

    def largest_from_above(self, points: Tensor) -> Tensor:
        """Bounds the largest function's exact value at ``points [B, *input]`` from above, ``[B]``."""
        return values_from_above(self.graph, self.tensors, points, self.rows, self.offsets).amax(1)

    def relu_inputs(self, points: Tensor) -> Box:
        """Bounds of the inputs of all ReLUs at ``points [B, *input]``, each side ``[B, N]``."""
        boxes = self.graph.intervals(self.tensors, Box(points, points))
        inputs = [boxes[node.inputs[0]] for node in self.graph.activations]
        return Box(*(side_by_side((box[side] for box in inputs), points) for side in (0, 1)))


_NEGLIGIBLE = 1e-100
"""Bounds of ReLU inputs that are 0 but for what they give away to rounding, so that a split gains nothing."""


def side_by_side(values: Iterable[Tensor], like: Tensor) -> Tensor:
    """Joins values ``[B, *shape]`` of each ReLU to ``[B, N]`` of all; of the kind of ``like [B, ...]`` if none."""
    return torch.cat([like.new_empty(len(like), 0), *(value.flatten(1) for value in values)], 1)
