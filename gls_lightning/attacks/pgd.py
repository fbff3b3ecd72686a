"""Projected gradient descent."""

import torch
from torch import Tensor

from gls_lightning.attacks.attack import Attack, Logits
from gls_lightning.attacks.losses import LOSSES, LossName
from gls_lightning.errors import ConfigurationError


class PGD(Attack):
    """Projected gradient descent with sign steps (Madry et al., 2018).

    The best point over all steps and restarts is kept. Step sizes shrink on the schedule of the certified training
    literature (CTBench): below 20 steps, by 0.2 after every 10; below 50 steps, by 0.1 at 70 %; otherwise by 0.1 at
    50, 80 and 90 %.

    Args:
        steps: Gradient steps per restart.
        restarts: Number of random starts.
        step_size: First step, relative to each coordinate's half-width of the box. By default max(0.25, 2 / steps).
        loss: "cross_entropy", or "margin" (largest wrong logit minus the true one), which does not saturate and whose
            sign says whether the point is misclassified.

    Raises:
        ConfigurationError: If ``steps`` or ``restarts`` is below 1, ``step_size`` is not positive, or ``loss``
            is unknown.
    """

    def __init__(
        self, *, steps: int = 10, restarts: int = 1, step_size: float | None = None, loss: LossName = "cross_entropy"
    ) -> None:
        if steps < 1:
            raise ConfigurationError(f"steps is {steps}; an attack needs at least 1")
        if restarts < 1:
            raise ConfigurationError(f"restarts is {restarts}; an attack needs at least 1")
        if step_size is not None and not step_size > 0:
            raise ConfigurationError(f"step_size is {step_size}; it must be positive, or null")
        if loss not in LOSSES:
            raise ConfigurationError(f"loss is {loss!r}; it must be one of {', '.join(LOSSES)}")
        self.steps = steps
        self.restarts = restarts
        self.step_size = max(0.25, 2 / steps) if step_size is None else step_size
        self.loss = loss

    def step_sizes(self) -> list[float]:
        """Size of each step, relative to the half-width."""
        if self.steps < 20:
            factor, drops = 0.2, [10]
        elif self.steps < 50:
            factor, drops = 0.1, [self.steps * 7 // 10]
        else:
            factor, drops = 0.1, [self.steps * tenths // 10 for tenths in (5, 8, 9)]
        return [self.step_size * factor ** sum(step >= drop for drop in drops) for step in range(self.steps)]

    @torch.no_grad()  # for the caller's autograd the result is constant; torch.func.grad works regardless
    def __call__(self, logits: Logits, lower: Tensor, upper: Tensor, labels: Tensor, starts: Tensor) -> Tensor:
        """See :meth:`Attack.__call__`."""

        def objective(x: Tensor) -> tuple[Tensor, Tensor]:
            losses = LOSSES[self.loss](logits(x), labels)
            return losses.sum(), losses

        gradient = torch.func.grad(objective, has_aux=True)
        half_width = (upper - lower) / 2
        worst, worst_loss = lower, torch.full_like(labels, -torch.inf, dtype=lower.dtype)
        for start in starts.to(lower):
            x = (lower + start * (upper - lower)).clamp(lower, upper)
            for size in self.step_sizes():
                slope, losses = gradient(x)
                worst, worst_loss = _worse(worst, worst_loss, x, losses)
                x = (x + size * half_width * slope.sign()).clamp(lower, upper)
            worst, worst_loss = _worse(worst, worst_loss, x, objective(x)[1])
        return worst


def _worse(x: Tensor, x_loss: Tensor, y: Tensor, y_loss: Tensor) -> tuple[Tensor, Tensor]:
    """Of two points per sample the one with the larger loss, with its loss."""
    replace = y_loss > x_loss
    return torch.where(replace.reshape(-1, *[1] * (y.ndim - 1)), y, x), torch.where(replace, y_loss, x_loss)
