"""Losses that attacks maximise, one number per sample."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["cross_entropy", "margin"]


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the true logit minus the largest other one, ``[B]``; positive iff the sample is classified correctly.

    Example:
        >>> margin(torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 5.0]]), torch.tensor([0, 1]))
        tensor([ 2., -4.])
    """
    others = torch.arange(logits.shape[1], device=labels.device) != labels[:, None]
    correct = logits.gather(1, labels[:, None]).squeeze(1)
    return correct - logits.where(others, -torch.inf).amax(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the cross-entropy of each sample, ``[B]``."""
    return F.cross_entropy(logits, labels, reduction="none")


def negative_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns minus the :func:`margin`, ``[B]``; unlike the cross-entropy it never saturates."""
    return -margin(logits, labels)


def log_probability_of(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Returns minus the cross-entropy of each sample's target class, ``[B]``."""
    return -cross_entropy(logits, targets)


def lead_of(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Returns the logit of each sample's target class minus the true one, ``[B]``."""
    both = logits.gather(1, torch.stack([targets, labels], dim=1))
    return both[:, 0] - both[:, 1]


def wrong_classes(labels: Tensor, num_classes: int) -> Tensor:
    """Returns every class but the true one, in order, ``[B, K - 1]``."""
    others = torch.arange(num_classes - 1, device=labels.device)
    return others + (others >= labels[:, None])


LOSSES: dict[LossName, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "margin": negative_margin,
}

TARGETED_LOSSES: dict[LossName, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "cross_entropy": log_probability_of,
    "margin": lead_of,
}
"""The losses towards one wrong class: functions of the logits, the true classes and the target classes."""
