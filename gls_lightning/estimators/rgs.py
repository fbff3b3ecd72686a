"""Randomized Gradient Smoothing."""

from collections.abc import Sequence
from functools import partial
from math import inf

import torch
from torch import Tensor

from gls_lightning.arguments import require
from gls_lightning.estimators._noise_tables import in_tables
from gls_lightning.estimators.estimator import Estimate, GradientEstimator, attach
from gls_lightning.estimators.evaluation import LossFunction, Metrics
from gls_lightning.estimators.noise import perturbed, perturbed_members, standard_normal
from gls_lightning.estimators.population import check_chunk_size, evaluate_members, members_at_once
from gls_lightning.estimators.step import Step
from gls_lightning.private_names import of_torch


class RGS(GradientEstimator):
    """Randomized Gradient Smoothing (Gaussian Loss Smoothing paper, section 3.4, equation 6).

    The mean of the gradients at ``population_size`` copies of the parameters, each perturbed by noise of its own from
    N(0, sigma^2). If the loss is continuous, this is an unbiased estimate of the gradient of the Gaussian-smoothed
    loss; the jumps of a discontinuous loss do not show in it (appendix B.3). The reported loss and metrics are means
    over the copies.

    Args:
        population_size: Number of perturbed copies per step, n_ps in the paper.
        sigma: Standard deviation of the perturbation of every parameter. ``SigmaDecay`` may change it in training;
            the buffer ``sigma``, 0-dim, holds the current one.
        antithetic: True for copies in pairs with opposite perturbations.
        relative_sigma: True for a ``sigma`` relative to the root mean square of each parameter tensor in each step. A
            tensor of zeros, such as BatchNorm's bias at the start, then gets no noise until it has moved.
        smallest_scale: With ``relative_sigma``, the least root mean square that counts; a smaller one counts as this.
        chunk_size: How many copies are evaluated at once by ``torch.func.vmap``; 1 takes them one after the other. By
            default what suits the device and the sizes.

    Raises:
        ConfigurationError: ``population_size`` is below 1, or odd with ``antithetic``; ``sigma`` or ``smallest_scale``
            is negative or not finite, or the latter is given without ``relative_sigma``; ``chunk_size`` is below 1;
            when called: the processes cannot share the population evenly.

    Example:
        The gradient of ``|x|`` at 0.1 is 1, that of the smoothed ``|x|`` is less, because copies lie on both sides
        of 0.

        >>> from gls_lightning.estimators import Step
        >>> params = {"x": torch.tensor(0.1, requires_grad=True)}
        >>> estimator = RGS(population_size=1000, sigma=0.1)
        >>> loss, metrics = estimator(lambda copy: (copy["x"].abs(), {}), params, Step(seed=0, batch=0))
        >>> loss.backward()
        >>> round(params["x"].grad.item(), 1)  # erf(1 / sqrt(2)) = 0.68
        0.7
    """

    sigma: Tensor

    def __init__(
        self,
        *,
        population_size: int = 2,
        sigma: float = 1e-3,
        antithetic: bool = False,
        relative_sigma: bool = False,
        smallest_scale: float = 0.0,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        require(population_size >= 1, "population_size", population_size, "at least 1")
        require(
            not (antithetic and population_size % 2), "population_size", population_size, "even for antithetic pairs"
        )
        require(0 <= sigma < inf, "sigma", sigma, "finite and not negative")
        require(0 <= smallest_scale < inf, "smallest_scale", smallest_scale, "finite and not negative")
        require(relative_sigma or not smallest_scale, "smallest_scale", smallest_scale, "0 without relative_sigma")
        check_chunk_size(chunk_size)
        self.population_size = population_size
        self.antithetic = antithetic
        self.relative_sigma = relative_sigma
        self.smallest_scale = smallest_scale
        self.chunk_size = chunk_size
        self.register_schedulable("sigma", sigma)

    def reported(self) -> Metrics:
        """Returns the standard deviation."""
        return {"sigma": self.sigma}

    def forward(self, loss_function: LossFunction, params: dict[str, Tensor], step: Step) -> Estimate:
        """See :meth:`GradientEstimator.forward`."""
        members = step.members(self.population_size)
        at_once = members_at_once(loss_function, self.chunk_size, len(members))
        totals = {name: torch.zeros_like(p) for name, p in params.items()}
        losses, reports = [], []
        perturb = partial(self._perturbed, params, step)
        several = partial(self._several, params, step) if in_tables(params) else None
        results = evaluate_members(loss_function, perturb, members, at_once, several=several, with_gradients=True)
        for loss, gradients, metrics in results:
            sums = [gradients[name].sum(0) if len(loss) > 1 else gradients[name][0] for name in totals]
            of_torch.add_to_all(totals.values(), sums, factor=1 / len(members))
            losses.append(loss)
            reports.append(metrics)
        means = {name: torch.cat([report[name] for report in reports]).mean() for name in reports[0]}
        return Estimate(attach(torch.cat(losses).mean(), totals, params), means)

    def _perturbed(self, params: dict[str, Tensor], step: Step, member: int) -> dict[str, Tensor]:
        source, negative = self._source(member)
        return perturbed(params, standard_normal(params, step, source), self._scales(params), -1 if negative else 1)

    def _several(self, params: dict[str, Tensor], step: Step, members: Sequence[int]) -> dict[str, Tensor]:
        return perturbed_members(params, step, [self._source(member) for member in members], self._scales(params))

    def _source(self, member: int) -> tuple[int, bool]:
        """Says whose noise a member takes, and whether the opposite of it."""
        return (member // 2, member % 2 == 1) if self.antithetic else (member, False)

    def _scales(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: self._scale(p) for name, p in params.items()}

    def _scale(self, p: Tensor) -> Tensor:
        sigma = self.sigma.to(p)
        if not self.relative_sigma:
            return sigma
        return sigma * p.detach().square().mean().sqrt().clamp_min(self.smallest_scale)
