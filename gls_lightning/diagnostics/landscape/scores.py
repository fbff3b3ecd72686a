"""Scores for how discontinuous, curved and non-convex a loss is along a line."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class LandscapeScores(NamedTuple):
    """The three scores of the paper's Fig. 5.

    Attributes:
        max_finite_difference: Largest magnitude of a finite difference. At a jump it grows without bound as the grid
            gets finer.
        mean_curvature: Mean magnitude of the second difference.
        deviation_from_convexity: Largest height of the loss above one of its chords; 0 for a convex loss.
    """

    max_finite_difference: float
    mean_curvature: float
    deviation_from_convexity: float


def landscape_scores(losses: Tensor, step: float) -> LandscapeScores:
    """Computes the scores of a loss on an even grid.

    Args:
        losses: The values at three or more points, ``[N]``.
        step: Distance of two neighbouring points.

    Example:
        >>> landscape_scores(torch.tensor([1.0, 0.0, 1.0, 4.0]), step=1.0)
        LandscapeScores(max_finite_difference=3.0, mean_curvature=2.0, deviation_from_convexity=0.0)
    """
    values = losses.double()
    return LandscapeScores(
        (values.diff().abs().max() / step).item(),
        (values.diff(n=2).abs().mean() / step**2).item(),
        deviation_from_convexity(values).item(),
    )


def deviation_from_convexity(values: Tensor) -> Tensor:
    """Computes D(f) of the paper's Section 3.1 for a function on an even grid, ``[N]`` to 0-dim.

    This is the largest ``f(c) - chord(c)`` over all chords and all grid points ``c`` below or above them. At each point
    the lowest chord is the lower convex hull of the graph, so one pass over the points suffices. NaN if a value is not
    finite.
    """
    if not values.isfinite().all():
        return values.new_tensor(torch.nan)
    heights = values.tolist()
    corners: list[int] = []
    for new in range(len(heights)):
        while len(corners) > 1 and not _bends_upwards(heights, corners[-2], corners[-1], new):
            corners.pop()
        corners.append(new)
    hull = np.interp(range(len(heights)), corners, [heights[corner] for corner in corners])
    return (values - torch.from_numpy(hull).to(values)).max().clamp_min(0)


def _bends_upwards(heights: list[float], left: int, middle: int, right: int) -> bool:
    slope_before = (heights[middle] - heights[left]) * (right - middle)
    slope_after = (heights[right] - heights[middle]) * (middle - left)
    return slope_after > slope_before
