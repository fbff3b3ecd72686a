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


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Fraction of samples whose largest logit is the label's, 0-dim."""
    return (logits.argmax(1) == labels).to(logits.dtype).mean()


def certified_accuracy(logits: Tensor, labels: Tensor, lower: Tensor) -> Tensor:
    """Fraction of samples that are classified correctly and whose margins ``lower [B, K - 1]`` are all above 0."""
    return ((logits.argmax(1) == labels) & (lower > 0).all(1)).to(lower.dtype).mean()
