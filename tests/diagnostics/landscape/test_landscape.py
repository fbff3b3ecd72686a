"""Landscapes, against losses that are evaluated one by one and smoothed losses that are known."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gls_lightning.bounds import Graph, Tensors, trace
from gls_lightning.diagnostics import Direction, Landscape, LossLandscape, RandomDirection
from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives import Adversarial, Batch, Certified, Objective
from gls_lightning.relaxations import CROWNIBP, IBP, AlphaCROWN, DeepPoly, HBox, Relaxation
from gls_lightning.training.loss import TrainingLoss, parameter_names

TINY = {"points": 5, "sigmas": [0.01], "population_sizes": [3]}


class Quadratic(Objective):
    """A loss whose smoothing is known: the sum of the squared parameters, which a variance adds to."""

    def __call__(self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch) -> Any:
        return sum((tensors[name] ** 2).sum() for name in ("0.weight", "0.bias", "2.weight", "2.bias")), {}


class Linear(Objective):
    """A loss whose noise is the same everywhere where the perturbations are: the sum of the parameters."""

    def __call__(self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch) -> Any:
        return sum(tensors[name].sum() for name in ("0.weight", "0.bias", "2.weight", "2.bias")), {}


def make(objective: Objective | None = None, *, batch_norm: bool = False) -> tuple[nn.Module, TrainingLoss]:
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(6)] if batch_norm else []
    net = nn.Sequential(nn.Linear(4, 6), *middle, nn.ReLU(), nn.Linear(6, 3)).double()
    x, y = torch.rand(5, 4, dtype=torch.double), torch.arange(5) % 3
    objective = objective or Certified()
    graph = trace(net, (4,))
    starts = objective.draw_starts(graph, torch.arange(5), 0)
    tensors = dict(net.named_parameters()) | dict(net.named_buffers())
    batch = Batch(x, y, torch.tensor(0.1, dtype=torch.double), tuple(start.double() for start in starts))
    return net, TrainingLoss(graph, IBP(), objective, tensors, parameter_names(net, tensors), batch)


def distance(net: nn.Module, moved: nn.Module) -> float:
    pairs = zip(net.parameters(), moved.parameters(), strict=True)
    return sum(((p - q) ** 2).sum().item() for p, q in pairs) ** 0.5


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_original_curve_is_the_loss_of_moved_networks(batch_norm: bool) -> None:
    net, loss = make(batch_norm=batch_norm)
    landscape = LossLandscape(direction=RandomDirection(seed=1), sigmas=[], points=7, span=(-0.5, 1))(loss)
    step = RandomDirection(seed=1)(loss)
    assert landscape.relaxations == ("IBP", "CROWNIBP", "DeepPoly")
    for curve, relaxation in zip(landscape.curves, (IBP(), CROWNIBP(), DeepPoly()), strict=True):
        for coordinate, value in zip(torch.linspace(-0.5, 1, 7).tolist(), curve.mean, strict=True):
            moved = copy.deepcopy(net)
            with torch.no_grad():
                for name, p in moved.named_parameters():
                    p += coordinate * step[name]
            of_moved = dict(moved.named_parameters()) | dict(moved.named_buffers())
            fixed = loss.graph, relaxation, loss.objective, of_moved, loss.names, loss.batch
            expected = TrainingLoss(*fixed)(dict(moved.named_parameters()))[0]
            assert value.item() == pytest.approx(expected.item(), rel=1e-6)
            if coordinate == 1:
                assert landscape.lengths == pytest.approx((distance(net, moved),))
        assert curve.centre.item() == pytest.approx(loss.with_relaxation(relaxation)(loss.params)[0].item())


def test_the_smoothed_curve_of_a_quadratic() -> None:
    _, loss = make(Quadratic())
    sigma, members, size = 0.1, 400, 4 * 6 + 6 + 6 * 3 + 3
    scan = LossLandscape(relaxations=[IBP()], sigmas=[sigma], population_sizes=[members], points=9, noise="fresh")
    original, smoothed = scan(loss).curves
    exact = original.mean + size * sigma**2
    inside = (smoothed.mean - exact).abs() < smoothed.half_width
    assert inside.double().mean() > 0.6  # 95 % are expected of the nine independent intervals
    torch.testing.assert_close(smoothed.mean, exact, rtol=0.05, atol=0)


@pytest.mark.parametrize("noise", ["shared", "fresh"])
def test_nineteen_in_twenty_bands_hold_the_normalised_smoothed_loss(noise: str) -> None:
    _, loss = make(Quadratic())
    added = (4 * 6 + 6 + 6 * 3 + 3) * 0.05**2
    options: dict[str, Any] = {"relaxations": [IBP()], "sigmas": [0.05], "population_sizes": [40], "noise": noise}
    held = 0
    for seed in range(100):
        scan = LossLandscape(direction=RandomDirection(), points=3, span=(0.5, 1), seed=seed, **options)
        original, smoothed = scan(loss).curves
        lower, upper = (side[-1] for side in smoothed.band)
        held += int(lower <= (original.mean[-1] + added) / (original.centre[0] + added) <= upper)
    assert 88 <= held <= 99


class Weights(Objective):
    """Notes the parameters with which it is called."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch) -> Any:
        self.seen.append(tensors["0.weight"].clone())
        return tensors["0.weight"].sum(), {}


def test_the_noise_is_not_the_random_direction_of_the_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingLoss, "members_at_once", 1)
    monkeypatch.setattr(IBP, "vectorisable", False)
    _, loss = make(weights := Weights())
    LossLandscape(direction=RandomDirection(), relaxations=[IBP()], sigmas=[1.0], points=3, population_sizes=[1])(loss)
    noise = weights.seen[-1] - loss.params["0.weight"]  # the last point is that of the present parameters
    step = RandomDirection()(loss)["0.weight"]
    assert noise.std().item() == pytest.approx(1, abs=0.5)
    assert torch.cosine_similarity(noise, step, dim=1).abs().min() < 0.9


@pytest.mark.parametrize("noise", ["shared", "fresh"])
def test_shared_noise_moves_all_points_alike(noise: str) -> None:
    _, loss = make(Linear())
    original, smoothed = LossLandscape(relaxations=[IBP()], noise=noise, **TINY)(loss).curves
    shifts = smoothed.losses - original.mean[:, None]
    alike = torch.allclose(shifts, shifts[:1].expand_as(shifts), atol=1e-12)
    assert alike == (noise == "shared")
    assert shifts.unique().numel() >= 3
    if noise == "shared":
        torch.testing.assert_close(smoothed.centre - original.centre, shifts[0])


def test_a_smaller_population_is_the_beginning_of_a_larger_one() -> None:
    _, loss = make()
    options: dict[str, Any] = {"relaxations": [HBox()], "sigmas": [0.02], "points": 4, "noise": "fresh"}
    large = LossLandscape(population_sizes=[6, 2], **options)(loss)
    small = LossLandscape(population_sizes=[2], **options)(loss)
    assert large.population_sizes == (2, 6)
    first, whole = large.sized(large.curves[1])
    assert (first.members, whole.members) == (2, 6)
    torch.testing.assert_close(first.losses, small.curves[1].losses)
    torch.testing.assert_close(first.centre, small.curves[1].centre)
    assert [curve.members for curve in large.sized(large.curves[0])] == [1]


@pytest.mark.parametrize("relaxation", [IBP(), CROWNIBP(), DeepPoly()])
def test_members_together_are_members_one_by_one(relaxation: Relaxation, monkeypatch: pytest.MonkeyPatch) -> None:
    _, loss = make(Adversarial() if isinstance(relaxation, IBP) else None)
    scan = LossLandscape(relaxations=[relaxation], **TINY)
    together = scan(loss)
    monkeypatch.setattr(relaxation, "vectorisable", False)
    monkeypatch.setattr(TrainingLoss, "members_at_once", 1)
    for ours, single in zip(together.curves, scan(loss).curves, strict=True):
        torch.testing.assert_close(ours.losses, single.losses)


def test_relaxations_without_gradients() -> None:
    _, loss = make()
    alpha, deep_poly = LossLandscape(relaxations=[AlphaCROWN(), DeepPoly()], **TINY)(loss).curves[::2]
    assert (alpha.losses <= deep_poly.losses + 1e-9).all()


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_the_evaluations(world_size: int) -> None:
    _, loss = make()
    scan = LossLandscape(relaxations=[IBP(), DeepPoly()], **TINY)
    alone = scan(loss)

    def reduce(losses: Tensor) -> Tensor:
        assert losses.is_contiguous()  # which NCCL demands
        return losses

    shares: list[Landscape] = [
        scan(loss, rank=rank, world_size=world_size, reduce=reduce) for rank in range(world_size)
    ]
    for curves in zip(alone.curves, *(share.curves for share in shares), strict=True):
        whole, *parts = (torch.cat([curve.losses, curve.centre[None]]) for curve in curves)
        assert all((part == 0).any() for part in parts)
        torch.testing.assert_close(sum(parts), whole)


def test_progress_counts_every_evaluation() -> None:
    _, loss = make()
    done: list[int] = []
    scan = LossLandscape(**TINY)
    scan(loss, progress=done.append)
    assert sum(done) == 3 * scan.evaluations == 3 * 6 * (1 + 3)


def test_a_plane() -> None:
    _, loss = make()
    scan = LossLandscape(
        relaxations=[IBP()], direction=RandomDirection(), second_direction=RandomDirection(seed=1), **TINY
    )
    landscape = scan(loss)
    first, second = RandomDirection()(loss), RandomDirection(seed=1)(loss)
    moved = {name: p + 0.5 * first[name] - second[name] for name, p in loss.params.items()}
    number = landscape.points.tolist().index([0.5, -1.0])
    assert landscape.is_plane
    assert landscape.curves[0].mean[number].item() == pytest.approx(loss(moved)[0].item())
    assert len(landscape.curves[1].mean) == 25


def test_nothing_is_changed() -> None:
    net, loss = make(batch_norm=True)
    before = copy.deepcopy(net.state_dict())
    random = torch.get_rng_state()
    LossLandscape(**TINY)(loss)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_a_population_of_one_has_no_band() -> None:
    _, loss = make()
    original, smoothed = LossLandscape(relaxations=[IBP()], sigmas=[0.1], population_sizes=[1], points=3)(loss).curves
    assert smoothed.half_width.isnan().all()
    assert not original.half_width.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigmas": [0.1, 0.0]}, r"sigmas is \[0.1, 0.0\]; it must be positive, finite numbers, each once"),
        ({"sigmas": [0.1, 0.1]}, "each once"),
        ({"population_sizes": []}, r"population_sizes is \[\]; it must be one or more"),
        ({"population_sizes": [0]}, "of at least 1"),
        ({"points": 2}, "points is 2; it must be at least 3"),
        ({"span": (1.0, -1.0)}, r"span is \[1.0, -1.0\]; it must be two finite numbers, the larger one second"),
        ({"noise": "none"}, "noise is 'none'; it must be one of"),
        ({"seed": -1}, "seed of the landscape is -1"),
        ({"relaxations": []}, "relaxations is empty"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        LossLandscape(**options)


def test_two_directions_that_are_one() -> None:
    _, loss = make()
    scan = LossLandscape(direction=RandomDirection(), second_direction=RandomDirection(), **TINY)
    with pytest.raises(ConfigurationError, match="second_direction is random direction, filter norms, parallel to"):
        scan(loss)


class ToTheOrigin(Direction):
    """All parameters to 0, and beyond."""

    unit, span = "to the origin", (0.0, 2.0)

    def __call__(self, loss: TrainingLoss) -> dict[str, Tensor]:
        return {name: -p for name, p in loss.params.items()}


def test_each_direction_has_its_own_span() -> None:
    _, loss = make()
    scan = LossLandscape(direction=RandomDirection(), second_direction=ToTheOrigin(), **TINY)
    assert [(grid[0].item(), grid[-1].item()) for grid in scan(loss).grid] == [(-1, 1), (0, 2)]


def test_what_does_not_fit_is_found_before_the_scan() -> None:
    _, loss = make()
    counted: list[int] = []

    class Failing(IBP):
        def __call__(self, *problem: Any) -> Tensor:
            raise ConfigurationError("no")

    with pytest.raises(ConfigurationError, match="no"):
        LossLandscape(relaxations=[IBP(), Failing()], **TINY)(loss, progress=counted.append)
    assert not counted


def test_bands_of_paired_members_are_narrow() -> None:
    """Members that differ from each other by a factor agree on the shape of the curve."""
    from gls_lightning.diagnostics import Curve

    factors, shape = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([0.5, 1.0, 2.0]).double()
    curve = Curve("IBP", 0.1, shape[:, None] * factors, factors)
    lower, upper = curve.band
    torch.testing.assert_close(lower, shape)
    torch.testing.assert_close(upper, shape)
    assert (curve.half_width > 1).all()


def test_names_of_the_same_class_are_numbered() -> None:
    _, loss = make()
    scan = LossLandscape(relaxations=[CROWNIBP(), CROWNIBP(lower_slope="zero")], sigmas=[], points=3)
    landscape = scan(loss)
    assert landscape.relaxations == ("CROWNIBP", "CROWNIBP_2")
    assert isinstance(landscape.curves[0].mean, Tensor)
