"""Projected gradient descent."""

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from gls_lightning.arguments import require
from gls_lightning.attacks._step_decay import STEP_DECAYS, StepDecay, step_sizes
from gls_lightning.attacks.attack import Attack, Logits
from gls_lightning.attacks.losses import LOSSES, TARGETED_LOSSES, LossName, lead_of, wrong_classes


class PGD(Attack):
    """Projected gradient descent with sign steps (Madry et al., 2018).

    The best point over all steps and restarts is kept.

    Args:
        steps: Gradient steps per restart.
        restarts: Number of random starts.
        step_size: First step, relative to the half-width of the box in each coordinate. By default
            max(0.25, 2 / steps).
        loss: "cross_entropy", or "margin" (largest wrong logit minus the true one), which does not saturate and is
            positive exactly where the point is misclassified.
        targeted: Whether each restart is run once towards every wrong class, to raise the lead of its logit over the
            true one ("margin") or its log-probability ("cross_entropy"). The point with the largest loss is kept. With
            K classes that is K - 1 times the work.
        step_decay: Rule by which the steps shrink. "ctbench": below 20 steps, by 0.2 after every 10; below 50 steps, by
            0.1 at 70 %; otherwise by 0.1 at 50, 80 and 90 % (Mao et al., 2024). "sabr": by 0.1 at 50, 80 and 90 %
            (Mueller et al., 2023). "taps": by 0.2 at 70 % from 10 steps on, more often above 50 (the latent attack of
            Mao et al., 2023). "none": they stay the same.

    Raises:
        ConfigurationError: If ``steps`` or ``restarts`` is below 1, ``step_size`` is not positive, or ``loss`` or
            ``step_decay`` is unknown.

    Example:
        >>> attack, labels = PGD(steps=5, restarts=2), torch.tensor([0])
        >>> starts = attack.draw_starts((2,), indices=torch.tensor([0]))
        >>> attack(lambda x: 4 * x, torch.zeros(1, 2), torch.ones(1, 2), labels, starts)
        tensor([[0., 1.]])
    """

    def __init__(
        self,
        *,
        steps: int = 10,
        restarts: int = 1,
        step_size: float | None = None,
        loss: LossName = "cross_entropy",
        targeted: bool = False,
        step_decay: StepDecay = "ctbench",
    ) -> None:
        require(steps >= 1, "steps", steps, "at least 1")
        require(restarts >= 1, "restarts", restarts, "at least 1")
        require(step_size is None or step_size > 0, "step_size", step_size, "positive, or null")
        require(loss in LOSSES, "loss", loss, f"one of {', '.join(LOSSES)}")
        require(step_decay in STEP_DECAYS, "step_decay", step_decay, f"one of {', '.join(STEP_DECAYS)}")
        self.steps = steps
        self.restarts = restarts
        self.step_size = max(0.25, 2 / steps) if step_size is None else step_size
        self.loss = loss
        self.targeted = targeted
        self.step_decay: StepDecay = step_decay

    def step_sizes(self) -> list[float]:
        """Returns the size of each step, relative to the half-width."""
        return step_sizes(self.step_size, self.steps, self.step_decay)

    @torch.no_grad()  # for the caller's autograd the result is constant; torch.func.grad works regardless
    def __call__(self, logits: Logits, lower: Tensor, upper: Tensor, labels: Tensor, starts: Tensor) -> Tensor:
        """See :meth:`Attack.__call__`."""

        def towards(targets: Tensor | None) -> _Found:
            def losses(x: Tensor) -> tuple[Tensor, Tensor]:
                z = logits(x)
                kept = LOSSES[self.loss](z, labels)
                return kept if targets is None else TARGETED_LOSSES[self.loss](z, labels, targets), kept

            return self._ascend(losses, lower, upper, starts)

        if not self.targeted:
            return towards(None).points
        classes = wrong_classes(labels, logits(lower).shape[1])
        return reduce(_worse, map(towards, classes.unbind(1))).points

    @torch.no_grad()
    def margin_points(
        self, logits: Logits, lower: Tensor, upper: Tensor, labels: Tensor, starts: Tensor, num_classes: int
    ) -> Tensor:
        """Finds for each wrong class the point where its logit leads most over the true one (multi-estimator PGD).

        Each class has an attack of its own (Mao et al., 2023, "Connecting Certified and Adversarial Training"). All run
        as one batch of ``B * (K - 1)`` points. ``loss`` and ``targeted`` do not matter.

        Args:
            logits: See :meth:`Attack.__call__`.
            lower: Lower corner of each box, ``[B, *input]``.
            upper: Upper corner of each box, ``[B, *input]``.
            labels: The true classes, ``[B]``.
            starts: Relative positions, ``[restarts, B, *input]``; all classes of a sample share them.
            num_classes: K.

        Returns:
            Points ``[B, K - 1, *input]`` in the boxes, in the order of the wrong classes.
        """
        others = num_classes - 1
        targets = wrong_classes(labels, num_classes).flatten()
        starts = starts.repeat_interleave(others, 1)
        lower, upper, labels = (tensor.repeat_interleave(others, 0) for tensor in (lower, upper, labels))

        def losses(x: Tensor) -> tuple[Tensor, Tensor]:
            leads = lead_of(logits(x), labels, targets)
            return leads, leads

        points = self._ascend(losses, lower, upper, starts).points
        return points.reshape(-1, others, *points.shape[1:])

    def _ascend(self, losses: "_Losses", lower: Tensor, upper: Tensor, starts: Tensor) -> "_Found":
        """Climbs the first of two losses from every start; returns the points where the second was largest."""

        def objective(x: Tensor) -> tuple[Tensor, Tensor]:
            climbed, kept = losses(x)
            return climbed.sum(), kept

        gradient = torch.func.grad(objective, has_aux=True)
        half_width = (upper - lower) / 2
        worst = _Found(lower, lower.new_full(lower.shape[:1], -torch.inf))
        for start in starts.to(lower):
            x = (lower + start * (upper - lower)).clamp(lower, upper)
            for size in self.step_sizes():
                slope, kept = gradient(x)
                worst = _worse(worst, _Found(x, kept))
                x = (x + size * half_width * slope.sign()).clamp(lower, upper)
            worst = _worse(worst, _Found(x, objective(x)[1]))
        return worst


class _Found(NamedTuple):
    """Points ``[B, *input]`` and their losses ``[B]``."""

    points: Tensor
    losses: Tensor


_Losses = Callable[[Tensor], tuple[Tensor, Tensor]]
"""The losses to climb and the losses to judge by, each ``[B]``, at points ``[B, *input]``."""


def _worse(first: _Found, second: _Found) -> _Found:
    """Keeps for each sample the point with the larger loss."""
    replace = second.losses > first.losses
    points = torch.where(replace.reshape(-1, *[1] * (second.points.ndim - 1)), second.points, first.points)
    return _Found(points, torch.where(replace, second.losses, first.losses))
