"""Randomized Gradient Smoothing."""

import math

import torch
from torch import Tensor

from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators.estimator import Estimate, GradientEstimator, Objective, attach, differentiate
from gls_lightning.estimators.key import Key


class RGS(GradientEstimator):
    """Randomized Gradient Smoothing (Gaussian Loss Smoothing paper, section 3.4, equation 6).

    The mean of the gradients at ``population_size`` perturbed copies of the parameters, each perturbed independently
    by N(0, sigma^2). This is an unbiased estimate of the gradient of the Gaussian-smoothed loss where the loss is
    continuous; jumps of a discontinuous loss do not show in it (appendix B.3). The reported loss and metrics are means
    over the copies. Copies are evaluated one after the other, so the memory for one of them is enough.

    Args:
        population_size: Number of perturbed copies per step, n_ps in the paper.
        sigma: Standard deviation of the perturbation of every parameter. ``SigmaDecay`` may change it in training.

    Attributes:
        initial_sigma: The standard deviation that was configured. The current one is the 0-dim buffer ``sigma``, a
            function of the training step alone, therefore not part of checkpoints.

    Raises:
        ConfigurationError: If ``population_size`` is below 1, or ``sigma`` is negative or not finite; when called,
            if the processes cannot share the population evenly.
    """

    sigma: Tensor

    def __init__(self, *, population_size: int = 2, sigma: float = 1e-3) -> None:
        super().__init__()
        if population_size < 1:
            raise ConfigurationError(f"population_size is {population_size}; it must be at least 1")
        if not (math.isfinite(sigma) and sigma >= 0):
            raise ConfigurationError(f"sigma is {sigma}; it must be finite and not negative")
        self.population_size = population_size
        self.initial_sigma = sigma
        self.register_buffer("sigma", torch.tensor(sigma, dtype=torch.float32), persistent=False)

    def forward(self, objective: Objective, params: dict[str, Tensor], key: Key) -> Estimate:
        """See :meth:`GradientEstimator.forward`."""
        members = key.members(self.population_size)
        totals = {name: torch.zeros_like(p) for name, p in params.items()}
        losses, reports = [], []
        for member in members:
            loss, gradients, metrics = differentiate(objective, self._perturbed(params, key, member))
            for name, gradient in gradients.items():
                totals[name].add_(gradient, alpha=1 / len(members))
            losses.append(loss)
            reports.append(metrics)
        means = {name: torch.stack([report[name] for report in reports]).mean() for name in reports[0]}
        return Estimate(attach(torch.stack(losses).mean(), totals, params), means)

    def _perturbed(self, params: dict[str, Tensor], key: Key, member: int) -> dict[str, Tensor]:
        """A member's parameters: new leaves that no hook of the true parameters sees."""
        generator = key.generator(member, next(iter(params.values())).device)
        copy = {}
        for name, p in params.items():
            noise = torch.randn(p.shape, generator=generator, device=p.device, dtype=p.dtype)
            copy[name] = torch.addcmul(p.detach(), noise, self.sigma.to(p)).requires_grad_()
        return copy
