"""The loss around a network's parameters, original and smoothed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
from scipy.stats import t as student_t
from torch import Tensor

from gls_lightning.arguments import component, components, require
from gls_lightning.diagnostics.landscape.directions import Direction, Displacement, GradientDirection
from gls_lightning.diagnostics.landscape.scores import LandscapeScores, landscape_scores
from gls_lightning.diagnostics.tightness import named_relaxations
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Reducer, Step, alone, evaluate_members, members_at_once, standard_normal
from gls_lightning.randomness import keyed_generator
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly, Relaxation
from gls_lightning.training import TrainingLoss

Noise = Literal["shared", "fresh"]


@dataclass(frozen=True)
class Curve:
    """The loss of one relaxation with one sigma, on a grid of points.

    Attributes:
        relaxation: Name of the relaxation.
        sigma: Standard deviation of the perturbation of every parameter; 0 for the original loss.
        losses: The loss of each member of the population at each point, float64 ``[N, members]``; a single member if
            sigma is 0.
        centre: The losses at the present parameters, ``[members]``.
    """

    relaxation: str
    sigma: float
    losses: Tensor
    centre: Tensor

    def of_population(self, size: int) -> "Curve":
        """Returns the curve of the first ``size`` members, or of all if there are fewer."""
        return Curve(self.relaxation, self.sigma, self.losses[:, :size], self.centre[:size])

    @property
    def members(self) -> int:
        """Size of the population."""
        return self.losses.shape[1]

    @property
    def mean(self) -> Tensor:
        """The estimate of the loss at each point, ``[N]``."""
        return self.losses.mean(1)

    @property
    def normalized(self) -> Tensor:
        """The loss divided by the equally smoothed loss at the present parameters (paper, Fig. 4), ``[N]``."""
        return self.mean / self.centre.mean()

    @property
    def half_width(self) -> Tensor:
        """Half-width of the 95 % confidence interval of each mean, ``[N]``; 0 if sigma is 0."""
        return self._half_width(self.losses)

    @property
    def band(self) -> tuple[Tensor, Tensor]:
        """Ends of the 95 % confidence intervals of the normalised loss, a ratio of two means, ``[N]`` each.

        A deviation that a member shows both at a point and at the present parameters does not widen them.
        """
        residuals = self.losses - self.normalized[:, None] * self.centre
        half_width = self._half_width(residuals) / self.centre.mean()
        return self.normalized - half_width, self.normalized + half_width

    def _half_width(self, values: Tensor) -> Tensor:
        """Applies Student's t to the means of ``values [N, members]``; NaN for a population of one."""
        if self.members == 1:
            return torch.full_like(self.mean, torch.nan if self.sigma else 0.0)
        quantile = float(student_t.ppf(0.975, self.members - 1))
        half_width: Tensor = values.std(1) * (quantile / self.members**0.5)
        return half_width


@dataclass(frozen=True)
class Landscape:
    """Curves along a line, or over a plane.

    Attributes:
        axes: Meaning of coordinate 1 in each direction.
        lengths: Distance of coordinate 1 from the present parameters in each direction, in the l2 norm.
        grid: The coordinates in each direction, evenly spaced, ``[points]`` each.
        curves: A curve for each relaxation and sigma, ordered by the relaxation. Over a plane the second coordinate
            changes fastest.
        population_sizes: The numbers of members that are compared, ascending; the curves have the last one.
    """

    axes: tuple[str, ...]
    lengths: tuple[float, ...]
    grid: tuple[Tensor, ...]
    curves: tuple[Curve, ...]
    population_sizes: tuple[int, ...]

    @property
    def is_plane(self) -> bool:
        """True if there are two directions."""
        return len(self.grid) == 2

    @property
    def points(self) -> Tensor:
        """The coordinates of all points, ``[N, directions]``."""
        return torch.cartesian_prod(*self.grid).reshape(-1, len(self.grid))

    @property
    def relaxations(self) -> tuple[str, ...]:
        """Names of the relaxations."""
        return tuple(dict.fromkeys(curve.relaxation for curve in self.curves))

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The standard deviations, 0 first."""
        return tuple(dict.fromkeys(curve.sigma for curve in self.curves))

    def sized(self, curve: Curve) -> Iterator[Curve]:
        """Yields the curve with each population size; only itself if it has no population."""
        yield from (curve.of_population(size) for size in (self.population_sizes if curve.sigma else (1,)))

    def scores(self, curve: Curve) -> LandscapeScores:
        """Computes the scores of the normalised curve along a line, in units of its coordinate (paper, Fig. 5)."""
        (grid,) = self.grid
        return landscape_scores(curve.normalized, (grid[1] - grid[0]).item())


class LossLandscape:
    """The loss around the present parameters, original and Gaussian-smoothed, for several relaxations.

    The loss is evaluated at every point of a grid. For each sigma, the smoothed loss is estimated by the mean over
    parameters that are perturbed by N(0, sigma^2).

    Args:
        relaxations: The relaxations. By default IBP, CROWN-IBP and DeepPoly.
        direction: Direction in which the parameters move. By default DeepPoly's gradient, as in the paper's Fig. 4.
        second_direction: Second direction, for a surface instead of curves; ``points`` squared are evaluated.
        sigmas: Standard deviations of the smoothing. By default the ones of the paper's Fig. 4.
        population_sizes: Numbers of perturbed copies from which the smoothed loss is estimated. Smaller populations are
            the first copies of larger ones, which shows the influence of the size (Fig. 8).
        points: Number of points in each direction.
        span: First and last coordinate. By default the direction's own.
        noise: ``shared``: copies have the same perturbations at every point, so the curve shows the smoothed loss;
            ``fresh``: they have new ones at every point, as in training, where every step draws new ones (Figs. 8 and
            10).
        seed: Seed of the perturbations.

    Raises:
        ConfigurationError: A value is out of its range.

    Example:
        Give it the loss of a module on some images, from :func:`landscape_loss`:

        >>> from gls_lightning.diagnostics import RandomDirection
        >>> landscape = LossLandscape(direction=RandomDirection(seed=1), sigmas=[1e-3], points=11)
        >>> list(landscape.relaxations), landscape.evaluations  # 11 points and the centre, 1 + 32 copies each
        (['IBP', 'CROWNIBP', 'DeepPoly'], 396)
    """

    def __init__(
        self,
        *,
        relaxations: list[Relaxation] | None = None,
        direction: Direction | None = None,
        second_direction: Direction | None = None,
        sigmas: Sequence[float] = (1e-6, 5e-5, 5e-4),
        population_sizes: Sequence[int] = (32,),
        points: int = 51,
        span: tuple[float, float] | None = None,
        noise: Noise = "shared",
        seed: int = 0,
    ) -> None:
        component("direction", direction, Direction)
        component("second_direction", second_direction, Direction)
        directions = (direction or GradientDirection(), *([second_direction] if second_direction else []))
        spans = [direction.span if span is None else span for direction in directions]
        _check(sigmas, population_sizes, points, spans, noise)
        require(seed >= 0, "seed of the landscape", seed, "at least 0")
        self.relaxations = named_relaxations(
            [IBP(), CROWNIBP(), DeepPoly()]
            if relaxations is None
            else components("relaxations", relaxations, Relaxation)
        )
        self.directions = directions
        self.sigmas = tuple(map(float, sigmas))
        self.population_sizes = tuple(sorted(set(population_sizes)))
        self.points = points
        self.spans = spans
        self.noise: Noise = noise
        self.seed = seed

    @property
    def about(self) -> dict[str, str | int]:
        """Options that the numbers depend on, for a record of them."""
        return {"noise": self.noise, "seed": self.seed}

    @property
    def evaluations(self) -> int:
        """Number of evaluations of each relaxation's loss on all samples."""
        points: int = self.points ** len(self.directions) + 1
        return points * (1 + len(self.sigmas) * self.population_sizes[-1])

    def __call__(
        self,
        loss: TrainingLoss,
        *,
        rank: int = 0,
        world_size: int = 1,
        reduce: Reducer = alone,
        progress: Callable[[int], object] = lambda evaluations: None,
    ) -> Landscape:
        """Evaluates the loss on the whole grid; nothing that belongs to the network is changed.

        Args:
            loss: The loss on some samples; its relaxation does not matter.
            rank: Number of this process among those that share the evaluations.
            world_size: Number of these processes.
            reduce: Sums over the processes.
            progress: Called with the number of evaluations since its last call.

        Returns:
            The curves, the same on every process.
        """
        steps = self.rehearse(loss)
        grid = tuple(torch.linspace(*span, self.points, dtype=torch.double) for span in self.spans)
        points = torch.cartesian_prod(*grid).reshape(-1, len(grid))
        scan = _Scan(loss.params, steps, points, self.noise, self.seed, rank, world_size)
        curves = []
        for name, relaxation in self.relaxations.items():
            of_relaxation = loss.with_relaxation(relaxation)
            for sigma in (0.0, *self.sigmas):
                members = self.population_sizes[-1] if sigma else 1
                losses = reduce(scan.losses(of_relaxation, sigma, members, progress)).cpu()
                curves.append(Curve(name, sigma, losses[:-1], losses[-1]))
        lengths = tuple(torch.nn.utils.get_total_norm(list(step.values())).item() for step in steps)
        axes = tuple(direction.unit for direction in self.directions)
        return Landscape(axes, lengths, grid, tuple(curves), self.population_sizes)

    def rehearse(self, loss: TrainingLoss) -> list[Displacement]:
        """Evaluates each direction and each relaxation once, so that errors come before a long scan.

        Args:
            loss: The loss on some samples; its relaxation does not matter.

        Returns:
            The steps in the directions.

        Raises:
            ConfigurationError: A direction, a relaxation or the objective does not fit the network, or the directions
                are parallel.
        """
        steps = [direction(loss) for direction in self.directions]
        with torch.no_grad():
            for relaxation in self.relaxations.values():
                loss.with_relaxation(relaxation)(loss.params)
        if len(steps) == 2 and _cosine(*steps).abs() > 1 - 1e-6:
            raise ConfigurationError(
                f"second_direction is {self.directions[1].unit}, parallel to direction; give two that differ, such as "
                "random directions with different seeds"
            )
        return steps


class _Scan:
    """An evaluation of losses at points around some parameters, which are themselves the last point."""

    def __init__(
        self,
        params: Displacement,
        steps: list[Displacement],
        points: Tensor,
        noise: Noise,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        self.params = params
        self.steps = steps
        self.points = torch.cat([points, torch.zeros(1, len(steps), dtype=points.dtype)]).tolist()
        self.noise = noise
        self.rank, self.world_size = rank, world_size
        seed = keyed_generator("noise of a landscape", seed).initial_seed()  # not that of a random direction
        # The points of one member follow each other, so shared noise is drawn once for each.
        self._drawn = lru_cache(maxsize=1)(lambda point, member: standard_normal(params, Step(seed, point), member))

    @torch.no_grad()
    def losses(self, loss: TrainingLoss, sigma: float, members: int, progress: Callable[[int], object]) -> Tensor:
        """Computes this process's part of the losses, float64 ``[points + 1, members]``; the other parts are 0."""
        numbers = range(self.rank, len(self.points) * members, self.world_size)
        at_once = members_at_once(loss, None, len(numbers))
        found = []
        for chunk in evaluate_members(lambda p: loss(p)[0], lambda i: self._member(i, sigma), numbers, at_once):
            found.append(chunk.double())
            progress(len(chunk))
        everything = next(iter(self.params.values())).new_zeros(len(self.points) * members, dtype=torch.double)
        if found:
            everything[numbers.start :: numbers.step] = torch.cat(found)
        return everything.view(members, len(self.points)).T.contiguous()  # as NCCL needs it

    def _member(self, number: int, sigma: float) -> dict[str, Tensor]:
        """Makes the parameters of one member at one point."""
        member, point = divmod(number, len(self.points))
        moved = dict(self.params)
        for coordinate, step in zip(self.points[point], self.steps, strict=True):
            moved = {name: p.add(step[name], alpha=coordinate) for name, p in moved.items()}
        if not sigma:
            return moved
        noise = self._drawn(point if self.noise == "fresh" else 0, member)
        return {name: p.add(noise[name], alpha=sigma) for name, p in moved.items()}


def _cosine(first: Displacement, second: Displacement) -> Tensor:
    one, other = (torch.cat([step[name].flatten() for name in first]) for step in (first, second))
    return torch.cosine_similarity(one, other, dim=0)


def _check(
    sigmas: Sequence[float], sizes: Sequence[int], points: int, spans: Sequence[tuple[float, float]], noise: str
) -> None:
    sigmas_fit = all(0 < sigma < torch.inf for sigma in sigmas) and len(set(sigmas)) == len(sigmas)
    require(sigmas_fit, "sigmas", list(sigmas), "positive, finite numbers, each once")
    require(bool(sizes) and min(sizes) >= 1, "population_sizes", list(sizes), "one or more numbers of at least 1")
    require(points >= 3, "points", points, "at least 3")
    for span in spans:
        rises = -torch.inf < span[0] < span[1] < torch.inf
        require(rises, "span", list(span), "two finite numbers, the larger one second")
    require(noise in get_args(Noise), "noise", noise, f"one of {', '.join(get_args(Noise))}")
