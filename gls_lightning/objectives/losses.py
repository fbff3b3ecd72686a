"""Terms of objectives and of their metrics."""

import torch
import torch.nn.functional as F
from torch import Tensor


def robust_cross_entropy(lower: Tensor) -> Tensor:
    """Bounds the cross-entropy over the box from above: log(1 + sum_i exp(-lower_i)) (Wong and Kolter, 2018).

    Args:
        lower: Lower bounds of the true logit minus every other one, ``[B, K - 1]``.

    Returns:
        The bound for each sample, ``[B]``.

    Example:
        >>> robust_cross_entropy(torch.zeros(2, 9)).exp().round()
        tensor([10., 10.])
    """
    return torch.logsumexp(F.pad(-lower, (1, 0)), dim=1)


def fraction(which: Tensor, like: Tensor) -> Tensor:
    """Returns the fraction of True in ``which [B]``, 0-dim, in the precision of ``like``."""
    return which.to(like.dtype).mean()


def certified_accuracy(correct: Tensor, lower: Tensor) -> Tensor:
    """Returns the fraction of samples that are ``correct [B]`` and have only positive bounds ``lower [B, K - 1]``."""
    return fraction(correct & (lower > 0).all(1), lower)


def adversarial_accuracy(correct: Tensor, attacked: Tensor, labels: Tensor) -> Tensor:
    """Returns the fraction of samples that are ``correct [B]`` and stay so with the logits ``attacked [B, K]``."""
    return fraction(correct & (attacked.argmax(1) == labels), attacked)
