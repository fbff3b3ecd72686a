"""Gradients that differ from the derivative: for points that an attack found, and for terms to be weighted.

Values stay what they are; only first-order gradients change. An estimator that takes none, such as PGPE, sees nothing.
"""

import torch
from torch import Tensor

from gls_lightning.bounds import Box


def rectified_linear_link(points: Tensor, box: Box, threshold: float) -> Tensor:
    """Lets points follow the corners of their box (Mao et al., 2023, "Connecting Certified and Adversarial Training").

    A coordinate ``x`` of ``[l, u]`` moves with the upper corner as much as ``max(0, 1 - (u - x) / (c (u - l)))`` and
    with the lower one as much as ``max(0, 1 - (x - l) / (c (u - l)))``: fully if it is there, less and less away from
    it. Where the box has no width, by half with each.

    Args:
        points: ``[B, S, *shape]``; constants for the gradient.
        box: Its sides are ``[B, *shape]``.
        threshold: The share c of the width within which a point follows a corner.

    Returns:
        The points, with a gradient in the corners.
    """
    points, lower, upper = points.detach(), box.lower[:, None], box.upper[:, None]
    reach = threshold * (upper - lower).detach()
    wide = reach > 0
    reach = torch.where(wide, reach, 1)

    def follow(corner: Tensor) -> Tensor:
        fixed = corner.detach()
        weight = torch.where(wide, (1 - (points - fixed).abs() / reach).clamp_min(0), 0.5)
        return weight * (corner - fixed)

    return points + follow(lower) + follow(upper)


def scale_gradient(value: Tensor, scale: float) -> Tensor:
    """The value itself, with ``scale`` times its gradient."""
    fixed = value.detach()
    return fixed + scale * (value - fixed)
