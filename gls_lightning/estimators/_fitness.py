"""Fitness shaping: the numbers that evolution strategies use in place of losses."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

FitnessShaping: TypeAlias = Literal["raw", "centered_ranks", "normalized"]
"""Rules by which a population's losses are replaced.

``raw``: the losses themselves, with which PGPE's estimate is unbiased; ``centered_ranks``: their ranks, spread evenly
from -0.5 to 0.5 (evotorch's default); ``normalized``: the losses shifted and scaled to mean 0 and standard deviation 1.
"""


def shape(losses: Tensor, rule: FitnessShaping) -> Tensor:
    """Shapes the losses ``[n]`` of a population; the smallest loss stays the smallest.

    Example:
        >>> shape(torch.tensor([10.0, 2.0, 3.0]), "centered_ranks")
        tensor([ 0.5000, -0.5000,  0.0000])
    """
    if rule == "raw":
        return losses
    if rule == "normalized":
        return (losses - losses.mean()) / losses.std(correction=0).clamp_min(torch.finfo(losses.dtype).tiny)
    return _ranks(losses) / max(len(losses) - 1, 1) - 0.5


def _ranks(losses: Tensor) -> Tensor:
    """Ranks the losses from 0; equal losses share the mean of their ranks."""
    ascending = losses.sort().values
    first, behind = (torch.searchsorted(ascending, losses, right=right) for right in (False, True))
    return (first + behind - 1).to(losses.dtype) / 2
