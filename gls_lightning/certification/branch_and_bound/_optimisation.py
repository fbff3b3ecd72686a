"""Bounds of subdomains with optimised slopes and multipliers."""

from typing import NamedTuple

import torch
from torch import Tensor

from gls_lightning.certification.branch_and_bound._lagrangian import Lagrangian
from gls_lightning.certification.branch_and_bound._subdomains import Subdomains

DECAY = 0.98
"""Factor of the size from one step to the next."""


class Bounded(NamedTuple):
    """Bounds of a batch of subdomains, and what they came from.

    Attributes:
        lower: Lower bounds of the largest function of each group, ``[B]``, float64.
        shares: Lower slopes of the unstable ReLUs, ``[B, N]``, float32.
        multipliers: Multipliers of the splits, ``[B, N]``, float32.
        weights: Weights of the functions, ``[B, m]``, float64.
        coefficients: Gradient of the bounds in each ReLU's output: where it is negative, the line above counts,
            ``[B, N]``, float64.
        points: Where the linear lower bound of each is smallest in its box, ``[B, *input]``, float64.
    """

    lower: Tensor
    shares: Tensor
    multipliers: Tensor
    weights: Tensor
    coefficients: Tensor
    points: Tensor

    def select(self, rows: Tensor) -> "Bounded":
        """Picks the bounds of some of the subdomains, by their positions."""
        return Bounded(*(values[rows] for values in self))


def optimise(
    subdomains: Subdomains, shares: Tensor, multipliers: Tensor, *, steps: int, learning_rate: float
) -> Bounded:
    """Bounds subdomains from below; Adam improves slopes, multipliers and weights in float32, the bounds are float64.

    Args:
        subdomains: The subdomains, float64.
        shares: Where the slopes start, ``[B, N]``, float32.
        multipliers: Where the multipliers start, ``[B, N]``, float32.
        steps: Number of steps.
        learning_rate: Size of the first step.
    """
    lagrangian = Lagrangian(subdomains.float())
    logits = torch.zeros_like(subdomains.offsets, dtype=torch.float32)
    variables = [t.clone().requires_grad_() for t in (shares, multipliers, logits)]
    shares, multipliers, logits = variables
    optimizer = torch.optim.Adam(variables, lr=learning_rate, maximize=True)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, DECAY)
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.enable_grad():
            total = lagrangian(shares, multipliers, logits.softmax(1)).sum()
        torch.autograd.backward(total, inputs=variables)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            shares.clamp_(0, 1)
            multipliers.clamp_min_(0)
    return _evaluate(subdomains, shares.detach(), multipliers.detach(), logits.detach())


def _evaluate(subdomains: Subdomains, shares: Tensor, multipliers: Tensor, logits: Tensor) -> Bounded:
    """Computes the bounds in float64, and their gradients."""
    weights = logits.double().softmax(1)
    with torch.enable_grad():
        lagrangian = Lagrangian(subdomains, with_gradients=True)
        lower = lagrangian(shares.double(), multipliers.double(), weights)
        lower.sum().backward()
    slope = lagrangian.centre.grad
    assert slope is not None
    points = torch.where(slope > 0, subdomains.box.lower, subdomains.box.upper)
    return Bounded(lower.detach(), shares, multipliers, weights, lagrangian.coefficients(), points)
