"""Policy Gradients with Parameter-based Exploration."""

from collections.abc import Sequence
from math import inf
from typing import get_args

import torch
from torch import Tensor, nn

from gls_lightning.arguments import require
from gls_lightning.estimators._fitness import FitnessShaping, shape
from gls_lightning.estimators._noise_tables import NoiseTables, in_tables, members_that_fit
from gls_lightning.estimators.estimator import Estimate, GradientEstimator, attach
from gls_lightning.estimators.evaluation import LossFunction, Metrics, Params
from gls_lightning.estimators.noise import perturbed, perturbed_members, standard_normal
from gls_lightning.estimators.population import check_chunk_size, evaluate_members, members_at_once
from gls_lightning.estimators.step import Step
from gls_lightning.private_names import of_torch


class PGPE(GradientEstimator):
    """Policy Gradients with Parameter-based Exploration (Sehnke et al., 2010; paper, section 3.3).

    The loss is never differentiated, only evaluated: at ``population_size`` copies of the parameters, in ``n`` pairs
    ``theta + e_i`` and ``theta - e_i`` with ``e_i`` from N(0, sigma^2). With the losses ``r_i+`` and ``r_i-`` of a pair
    and the mean ``b`` of all, the gradients of the Gaussian-smoothed loss are estimated as::

        theta:  1/n     sum_i e_i (r_i+ - r_i-) / (2 sigma^2)
        sigma:  1/(n-1) sum_i ((r_i+ + r_i-) / 2 - b) (e_i^2 - sigma^2) / sigma^3

    without bias, however discontinuous the loss. The optimizer takes the first. The second is for ``sigma``, which is
    learned for each coordinate: after each step of the optimizer it changes by ``sigma_learning_rate * sigma^2`` times
    the gradient, the step size of Sehnke et al., but by no more than ``sigma_max_change`` of itself. Noise is drawn
    again when it is needed, so the memory does not grow with the population; on a GPU it is kept for a step where it
    fits the loss's ``noise_bytes``. Between processes only the ``population_size`` losses are exchanged.

    Args:
        population_size: Number of perturbed copies per step, n_ps in the paper; even.
        initial_sigma: Standard deviation of the perturbations at the start.
        sigma_learning_rate: Step size of sigma, relative to its square; 0 keeps sigma as it is. With raw losses it acts
            in proportion to their curvature, which is small where sigma is.
        sigma_max_change: Largest change of a sigma in one step, relative to itself.
        fitness_shaping: What takes the place of the losses: ``raw`` for themselves, ``centered_ranks`` or
            ``normalized``. Shaped estimates are neither unbiased nor scaled like the gradient.
        chunk_size: How many copies are evaluated at once by ``torch.func.vmap``; 1 takes them one after the other. By
            default what suits the device and the sizes.

    Attributes:
        sigma: Mean of the current standard deviations, 0-dim.
        sigmas: Holds them as persistent buffers, one like each parameter.

    Raises:
        ConfigurationError: An argument is out of its range; when called: the processes cannot share the population.

    Example:
        A staircase has no gradient, but its smoothed version is close to the line ``x - 1/2``.

        >>> from gls_lightning.estimators import Step
        >>> params = {"x": torch.tensor(0.3, requires_grad=True)}
        >>> estimator = PGPE(population_size=2000, initial_sigma=1.0)
        >>> loss, metrics = estimator(lambda copy: (copy["x"].floor(), {}), params, Step(seed=0, batch=0))
        >>> loss.backward()
        >>> round(params["x"].grad.item(), 1)
        1.0
    """

    needs_differentiable = False

    def __init__(
        self,
        *,
        population_size: int = 256,
        initial_sigma: float = 1e-3,
        sigma_learning_rate: float = 1.0,
        sigma_max_change: float = 0.2,
        fitness_shaping: FitnessShaping = "raw",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        enough = population_size >= (4 if sigma_learning_rate else 2) and population_size % 2 == 0
        require(enough, "population_size", population_size, "even, and at least 4 for PGPE to learn sigma")
        require(0 < initial_sigma < inf, "initial_sigma", initial_sigma, "finite and positive")
        require(0 <= sigma_learning_rate < inf, "sigma_learning_rate", sigma_learning_rate, "finite and not negative")
        require(0 < sigma_max_change < 1, "sigma_max_change", sigma_max_change, "between 0 and 1, both excluded")
        shapings = get_args(FitnessShaping)
        require(fitness_shaping in shapings, "fitness_shaping", fitness_shaping, f"one of {', '.join(shapings)}")
        check_chunk_size(chunk_size)
        self.population_size = population_size
        self.sigma_learning_rate = sigma_learning_rate
        self.sigma_max_change = sigma_max_change
        self.fitness_shaping: FitnessShaping = fitness_shaping
        self.chunk_size = chunk_size
        self.sigmas = nn.Module()
        self._start = initial_sigma
        self._sigma_gradients: dict[str, Tensor] = {}
        self._batches = 0

    @property
    def sigma(self) -> Tensor:
        """The mean of the standard deviations of all coordinates, 0-dim."""
        sigmas = [sigma.flatten().float() for sigma in self.sigmas.buffers()]
        return torch.cat(sigmas).mean() if sigmas else torch.tensor(self._start)

    def reported(self) -> Metrics:
        """Returns the mean of the standard deviations."""
        return {"sigma": self.sigma}

    def prepare(self, params: dict[str, Tensor]) -> None:
        """See :meth:`GradientEstimator.prepare`."""
        known = dict(self.sigmas.named_buffers())
        for name, p in params.items():
            if _buffer_name(name) not in known:
                self.sigmas.register_buffer(_buffer_name(name), torch.full_like(p, self._start, requires_grad=False))

    def forward(self, loss_function: LossFunction, params: dict[str, Tensor], step: Step) -> Estimate:
        """See :meth:`GradientEstimator.forward`."""
        self.prepare(params)
        sigmas = self._sigmas_of(params)
        with torch.no_grad():
            noise = _PairNoise(params, step, self.population_size // 2, getattr(loss_function, "noise_bytes", 0))
            losses, metrics = self._evaluate(loss_function, params, sigmas, step, noise)
            mine = losses.new_zeros(self.population_size)
            mine[step.rank :: step.world_size] = losses
            fitness = shape(step.reduce(mine), self.fitness_shaping)
            gradients = self._gradients(sigmas, fitness, noise)
        return Estimate(attach(losses.mean(), gradients, params), metrics)

    def _sigmas_of(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        known = dict(self.sigmas.named_buffers())
        return {name: known[_buffer_name(name)] for name in params}

    def _evaluate(
        self, loss_function: LossFunction, params: Params, sigmas: Params, step: Step, noise: "_PairNoise"
    ) -> tuple[Tensor, Metrics]:
        """Returns the losses of this process's members, and the means of their metrics."""

        def member(number: int) -> Params:
            pair, negative = divmod(number, 2)
            return perturbed(params, noise.of_pair(pair), sigmas, -1 if negative else 1)

        def several(numbers: Sequence[int]) -> Params:
            return perturbed_members(params, step, [(n // 2, n % 2 == 1) for n in numbers], sigmas, noise.drawn)

        members = step.members(self.population_size)
        at_once = members_at_once(loss_function, self.chunk_size, len(members))
        stacked = several if in_tables(params) else None
        results = list(evaluate_members(loss_function, member, members, at_once, several=stacked))
        losses = torch.cat([loss for loss, _ in results])
        metrics = {name: torch.cat([m[name] for _, m in results]).mean() for name in results[0][1]}
        return losses, metrics

    def _gradients(self, sigmas: Params, fitness: Tensor, noise: "_PairNoise") -> Params:
        """Returns the gradient for the mean, and keeps that for sigma until the optimizer's step."""
        positive, negative = fitness.unflatten(0, (-1, 2)).unbind(1)
        slopes, curvatures = (positive - negative) / 2, (positive + negative) / 2 - fitness.mean()
        first, second = noise.sums(slopes, curvatures if self.sigma_learning_rate else None)
        self._collect({name: total / (sigmas[name] * (len(slopes) - 1)) for name, total in second.items()})
        return {name: total / (sigmas[name] * len(slopes)) for name, total in first.items()}

    def _collect(self, gradients: dict[str, Tensor]) -> None:
        for name, gradient in gradients.items():
            before = self._sigma_gradients.get(name)
            self._sigma_gradients[name] = gradient if before is None else before + gradient
        self._batches += 1

    def start_fit(self) -> None:
        """Forgets gradients of a fit that ended before its optimizer's step."""
        self._sigma_gradients, self._batches = {}, 0

    def after_step(self) -> None:
        """Moves sigma against the mean of the gradients since the last step of the optimizer."""
        for name, total in self._sigma_gradients.items():
            sigma = self.sigmas.get_buffer(_buffer_name(name))
            change = (self.sigma_learning_rate * sigma * total / self._batches).nan_to_num(0, 0, 0)
            sigma.mul_(1 - change.clamp(-self.sigma_max_change, self.sigma_max_change))
        self.start_fit()


class _PairNoise:
    """The noise of all pairs of a step, drawn when it is needed; on a GPU it is kept if it fits a number of bytes."""

    def __init__(self, params: Params, step: Step, pairs: int, size: int) -> None:
        self._params, self._step, self._pairs = params, step, range(pairs)
        self._at_once = members_that_fit(params, size)
        is_kept = in_tables(params) and pairs <= self._at_once
        self.drawn = NoiseTables(params, step, self._pairs) if is_kept else None

    def of_pair(self, pair: int) -> Params:
        """Returns the noise of one pair."""
        return self.drawn.row(pair) if self.drawn else standard_normal(self._params, self._step, pair)

    def sums(self, slopes: Tensor, curvatures: Tensor | None) -> tuple[Params, Params]:
        """Returns the sum of the noise times ``slopes`` and that of its squares less 1 times ``curvatures``, or {}."""
        first = {name: torch.zeros_like(p, requires_grad=False) for name, p in self._params.items()}
        second = {} if curvatures is None else {name: torch.zeros_like(p) for name, p in first.items()}
        if in_tables(self._params):
            self._add_tables(first, second, slopes, curvatures)
            return first, second
        for pair in self._pairs:
            noise = self.of_pair(pair)
            for name, total in first.items():
                total += slopes[pair].to(total) * noise[name]
            if curvatures is not None:
                for name, total in second.items():
                    total += curvatures[pair].to(total) * (noise[name].square() - 1)
        return first, second

    def _add_tables(self, first: Params, second: Params, slopes: Tensor, curvatures: Tensor | None) -> None:
        for start in range(0, len(self._pairs), self._at_once):
            part = slice(start, start + self._at_once)
            tables = self.drawn or NoiseTables(self._params, self._step, self._pairs[part])
            of_torch.add_to_all(first.values(), tables.weighted_sum(slopes[part]).values(), factor=1)
            if curvatures is not None:
                of_torch.add_to_all(
                    second.values(), tables.weighted_sum_of_squares(curvatures[part]).values(), factor=1
                )


def _buffer_name(parameter: str) -> str:
    return parameter.replace(".", "/")  # PyTorch allows no dots
