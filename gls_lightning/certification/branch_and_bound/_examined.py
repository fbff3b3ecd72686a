"""Bounded subdomains of several trees."""

from typing import NamedTuple

import torch
from torch import Tensor

from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.certification.branch_and_bound._optimisation import Bounded
from gls_lightning.certification.branch_and_bound._subdomains import Subdomains
from gls_lightning.certification.branch_and_bound._tree import Subdomain, Tree

Selection = list[tuple[Tree, Subdomain]]
"""Subdomains that were taken out of trees to be bounded together, each with its tree."""


class Examined(NamedTuple):
    """Bounded subdomains with the trees that they belong to."""

    subdomains: Subdomains
    bounded: Bounded
    batch: Selection

    def select(self, rows: list[int]) -> "Examined":
        """Picks some of them, by their positions."""
        positions = torch.tensor(rows, dtype=torch.int64, device=self.bounded.lower.device)
        batch = [self.batch[row] for row in rows]
        return Examined(self.subdomains.select(positions), self.bounded.select(positions), batch)

    def close_proven(self) -> "Examined":
        """Closes the subdomains that are proven; returns the others."""
        left = []
        for i, ((tree, subdomain), bound) in enumerate(zip(self.batch, self.bounded.lower.tolist(), strict=True)):
            lower = max(subdomain.lower, bound)  # in this order, NaN counts for nothing
            if not len(subdomain.relus):
                tree.prove(lower)
            if lower > 0:
                tree.close(lower)
            else:
                left.append(i)
        return self.select(left)

    def compare_with_bounds(self, points: Tensor) -> None:
        """Ends the search of trees where a ReLU's input leaves its bounds by more than rounding explains."""
        inputs, bounds = self.subdomains.relu_inputs(points), self.subdomains.relu_box
        outside = torch.maximum(bounds.lower - inputs.upper, inputs.lower - bounds.upper)
        for i in (outside > 0).any(1).nonzero().flatten().tolist():
            tree, _ = self.batch[i]
            tree.fail(f"a ReLU's input lies outside its bounds by {outside[i].max():.3g}: a bound is wrong")


def assemble(graph: Graph, tensors: Tensors, batch: Selection) -> Subdomains:
    """Puts the subdomains of a batch side by side."""
    trees = [tree for tree, _ in batch]
    relu_box = _concatenate([tree.relu_box for tree in trees])
    unsplit = torch.zeros_like(relu_box.lower, dtype=torch.int8)
    return Subdomains(
        graph,
        tensors,
        _concatenate([tree.question.box for tree in trees]),
        relu_box,
        spread([(subdomain.relus, subdomain.signs) for _, subdomain in batch], unsplit),
        torch.stack([tree.question.rows[tree.group] for tree in trees]),
        torch.stack([tree.question.offsets[tree.group] for tree in trees]),
    )


def _concatenate(boxes: list[Box]) -> Box:
    return Box(*(torch.cat(sides) for sides in zip(*boxes, strict=True)))


def spread(values: list[tuple[Tensor, Tensor]], everywhere: Tensor) -> Tensor:
    """Puts positions and values of each row into ``everywhere [B, N]``."""
    for row, (positions, numbers) in zip(everywhere, values, strict=True):
        row[positions] = numbers
    return everywhere
