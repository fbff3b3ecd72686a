"""What an attack maximises, sample by sample."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["cross_entropy", "margin"]


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The true logit minus the largest other one, ``[B]``; positive iff the sample is classified correctly."""
    others = torch.arange(logits.shape[1], device=labels.device) != labels[:, None]
    correct = logits.gather(1, labels[:, None]).squeeze(1)
    return correct - logits.where(others, -torch.inf).amax(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each sample, ``[B]``."""
    return F.cross_entropy(logits, labels, reduction="none")


def negative_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the :func:`margin`, ``[B]``; unlike the cross-entropy it never saturates."""
    return -margin(logits, labels)


LOSSES: dict[LossName, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "margin": negative_margin,
}
