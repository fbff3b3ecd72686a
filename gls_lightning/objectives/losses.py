"""Terms that objectives and their metrics are made of."""

import torch
import torch.nn.functional as F
from torch import Tensor


def robust_cross_entropy(lower: Tensor) -> Tensor:
    """An upper bound of the cross-entropy over the box, log(1 + sum_i exp(-lower_i)) (Wong and Kolter, 2018).

    Args:
        lower: Lower bounds of the true logit minus every other one, ``[B, K - 1]``.

    Returns:
        The bound for each sample, ``[B]``.
    """
    return torch.logsumexp(F.pad(-lower, (1, 0)), dim=1)


def fraction(which: Tensor, like: Tensor) -> Tensor:
    """Fraction of the samples that ``which [B]`` says, 0-dim, with the type of the numbers of ``like``."""
    return which.to(like.dtype).mean()


def certified_accuracy(correct: Tensor, lower: Tensor) -> Tensor:
    """Fraction of samples that are classified correctly, and whose margins ``lower [B, K - 1]`` are all above 0."""
    return fraction(correct & (lower > 0).all(1), lower)


def adversarial_accuracy(correct: Tensor, attacked: Tensor, labels: Tensor) -> Tensor:
    """Fraction of samples that are classified correctly, and still are with the logits ``attacked [B, K]``."""
    return fraction(correct & (attacked.argmax(1) == labels), attacked)
