"""Fitness shaping: what evolution strategies put in the place of losses."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

FitnessShaping: TypeAlias = Literal["raw", "centered_ranks", "normalized"]
"""What takes the place of a population's losses.

``raw``: the losses themselves, of which PGPE's estimate is unbiased; ``centered_ranks``: their ranks, spread evenly
from -0.5 to 0.5 (evotorch's default); ``normalized``: mean 0 and standard deviation 1.
"""


def shape(losses: Tensor, rule: FitnessShaping) -> Tensor:
    """Shapes the losses ``[n]`` of a population; the smallest loss stays the smallest."""
    if rule == "raw":
        return losses
    if rule == "normalized":
        return (losses - losses.mean()) / losses.std(correction=0).clamp_min(torch.finfo(losses.dtype).tiny)
    return _ranks(losses) / max(len(losses) - 1, 1) - 0.5


def _ranks(losses: Tensor) -> Tensor:
    """Ranks from 0; equal losses share the mean of theirs."""
    ascending = losses.sort().values
    first, behind = (torch.searchsorted(ascending, losses, right=right) for right in (False, True))
    return (first + behind - 1).to(losses.dtype) / 2
