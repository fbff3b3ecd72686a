"""The choice of the ReLU to split."""

import torch
from torch import Tensor

from gls_lightning.certification.branch_and_bound._lagrangian import Lagrangian
from gls_lightning.certification.branch_and_bound._optimisation import Bounded
from gls_lightning.certification.branch_and_bound._subdomains import Subdomains


def choose_relu(subdomains: Subdomains, bounded: Bounded, candidates: int) -> Tensor:
    """Tries the most promising ReLUs and takes the best one: filtered smart branching (De Palma et al., 2021).

    Half of the candidates are those whose line above costs most, the others those whose line below may. Each
    is tried by bounding both parts with the slopes and multipliers of the whole; the larger the sum of the two bounds,
    each cut off at 0, where nothing is left to gain, the better.

    Args:
        subdomains: The subdomains, float64, each with an unstable ReLU.
        bounded: Their bounds.
        candidates: How many ReLUs are tried, at least 2 where there are as many.

    Returns:
        Positions of the ReLUs, ``[B]``.
    """
    costs = triangle_costs(subdomains, bounded)
    number = min(-(-candidates // 2), costs.shape[1])
    above, below = (torch.where(subdomains.unstable, side.clamp_min(0), -1).topk(number, 1) for side in (costs, -costs))
    score, relus = torch.cat([above.values, below.values], 1), torch.cat([above.indices, below.indices], 1)
    rough = subdomains.float()
    gains = torch.stack([_gain(rough, bounded, relu) for relu in relus.unbind(1)], 1)
    best = torch.where(score >= 0, gains, -torch.inf).argmax(1, keepdim=True)
    return relus.gather(1, best).squeeze(1)


def triangle_costs(subdomains: Subdomains, bounded: Bounded) -> Tensor:
    """Computes the height of the triangle around each unstable ReLU, times minus the ReLU's coefficient, ``[B, N]``.

    Where it is positive, it is what the line above costs the bound: the intercept term of BaBSR (Bunel et al., 2020).
    Where it is negative, the line below is in use, which costs nothing at 0 but may elsewhere.
    """
    lower, upper = subdomains.relu_box
    return -bounded.coefficients * torch.where(subdomains.unstable, -lower * upper / (upper - lower), 0)


@torch.no_grad()
def _gain(subdomains: Subdomains, bounded: Bounded, relus: Tensor) -> Tensor:
    def bound(sign: int) -> Tensor:
        part = subdomains.split_at(relus, torch.full_like(relus, sign, dtype=torch.int8))
        return Lagrangian(part)(bounded.shares, bounded.multipliers, bounded.weights.float())

    return bound(1).clamp_max(0) + bound(-1).clamp_max(0)
