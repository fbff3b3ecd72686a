"""Gradients other than the derivative, for points that an attack found and for terms of a loss.

Values do not change, so an estimator that uses values alone, such as PGPE, is not affected.
"""

import torch
from torch import Tensor

from gls_lightning.bounds import Box


def rectified_linear_link(points: Tensor, box: Box, threshold: float) -> Tensor:
    """Gives points a gradient in the corners of their box.

    It is the rectified linear link of Mao et al. (2023, "Connecting Certified and Adversarial Training"): the
    derivative of a coordinate ``x`` in ``[l, u]`` is ``max(0, 1 - (u - x) / (c (u - l)))`` with respect to ``u`` and
    ``max(0, 1 - (x - l) / (c (u - l)))`` with respect to ``l``: 1 in the corner itself, and less away from it. Where
    the box has no width, both are 1/2.

    Args:
        points: The points, ``[B, S, *shape]``; a gradient that they have is dropped.
        box: The boxes, each side ``[B, *shape]``.
        threshold: The share c of the width within which a corner has an influence.

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
    """Returns the value itself, with ``scale`` times its gradient."""
    fixed = value.detach()
    return fixed + scale * (value - fixed)
