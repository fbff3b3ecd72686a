"""Which ReLU to split."""

import torch
from torch import Tensor

from gls_lightning.certification.branch_and_bound.lagrangian import Lagrangian
from gls_lightning.certification.branch_and_bound.optimisation import Bounded
from gls_lightning.certification.branch_and_bound.subdomains import Subdomains


def choose_relu(subdomains: Subdomains, bounded: Bounded, candidates: int) -> Tensor:
    """Filtered smart branching (De Palma et al., 2021): tries the most promising ReLUs and takes the best one.

    Each candidate is tried by bounding both parts with the slopes and multipliers of the whole; the larger the sum of
    the two bounds, each cut off at 0, where nothing is left to gain, the better.

    Args:
        subdomains: The subdomains, float64, each with an unstable ReLU.
        bounded: Their bounds.
        candidates: How many ReLUs are tried.

    Returns:
        Positions of the ReLUs, ``[B]``.
    """
    score, relus = intercept_scores(subdomains, bounded).topk(min(candidates, subdomains.signs.shape[1]), 1)
    gains = torch.stack([_gain(subdomains.float(), bounded, relu) for relu in relus.unbind(1)], 1)
    best = torch.where(score >= 0, gains, -torch.inf).argmax(1, keepdim=True)
    return relus.gather(1, best).squeeze(1)


def intercept_scores(subdomains: Subdomains, bounded: Bounded) -> Tensor:
    """What the height of the triangle around each ReLU costs the bound, where the line above it counts.

    This is the intercept term of BaBSR (Bunel et al., 2020). ReLUs that cost nothing come last.

    Returns:
        ``[B, N]``; -1 where a ReLU is not unstable.
    """
    lower, upper = subdomains.relu_box
    height = -lower * upper / (upper - lower)
    return torch.where(subdomains.unstable, (-bounded.coefficients).clamp_min(0) * height, -1)


@torch.no_grad()
def _gain(subdomains: Subdomains, bounded: Bounded, relus: Tensor) -> Tensor:
    def bound(sign: int) -> Tensor:
        part = subdomains.split_at(relus, torch.full_like(relus, sign, dtype=torch.int8))
        return Lagrangian(part)(bounded.shares, bounded.multipliers, bounded.weights.float())

    return bound(1).clamp_max(0) + bound(-1).clamp_max(0)
