"""Points of a box where functions are small."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gls_lightning.attacks import PGD
from gls_lightning.bounds import Box
from gls_lightning.certification.branch_and_bound._leaf import minimise_leaf
from gls_lightning.certification.branch_and_bound._subdomains import Subdomains

_LARGEST_PROGRAM = 2**20
"""Coefficients of the largest linear program that is solved for a mere attempt: a second or so."""

_DESCENT = PGD(steps=10, step_size=0.25, step_decay="sabr", loss="margin")


def descend(subdomains: Subdomains, points: Tensor) -> Tensor:
    """Finds points of the boxes where the largest function is at most that at ``points [B, *input]``, but for rounding.

    A short attack in float32 starts there.
    """
    if not len(points):
        return points
    rough = subdomains.float()
    width = rough.box.upper - rough.box.lower
    starts = (points.float() - rough.box.lower) / torch.where(width > 0, width, 1)
    return minimise(rough.largest, rough.box, starts[None], _DESCENT).double().clamp(*subdomains.box)


def minimise(function: Callable[[Tensor], Tensor], box: Box, starts: Tensor, attack: PGD) -> Tensor:
    """Finds points of boxes where a function is small.

    Args:
        function: Maps points ``[B, *input]`` to values ``[B]``.
        box: The boxes, each side ``[B, *input]``.
        starts: See :meth:`gls_lightning.attacks.Attack.__call__`.
        attack: Attack on the margin.

    Returns:
        The points, ``[B, *input]``.
    """

    def logits(points: Tensor) -> Tensor:
        values = function(points)
        return torch.stack([values, torch.zeros_like(values)], 1)  # whose margin is the function

    labels = torch.zeros(len(box.lower), dtype=torch.int64, device=box.lower.device)
    return attack(logits, *box, labels, starts)


def minimum_around(subdomain: Subdomains, point: Tensor, *, time_limit: float) -> Tensor | None:
    """Minimises the largest function of a single subdomain where every ReLU acts as it does at a point of its box.

    Args:
        subdomain: The subdomain, whose splits do not count.
        point: The point, ``[1, *input]``.
        time_limit: Seconds for the linear program.

    Returns:
        The point; None where the program would be a large one, or finds none.
    """
    unstable = replace(subdomain, signs=torch.zeros_like(subdomain.signs)).unstable
    if unstable.sum() * point.numel() > _LARGEST_PROGRAM:
        return None
    signs = torch.where(subdomain.relu_inputs(point).lower > 0, 1, -1)
    pattern = torch.where(unstable, signs, 0).to(torch.int8)
    return minimise_leaf(replace(subdomain, signs=pattern), time_limit=time_limit).point
