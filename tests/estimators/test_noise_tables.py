"""Noise in tables, as a GPU draws it: forced on the CPU."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gls_lightning.estimators import PGPE, RGS, GradientEstimator, Step, _noise_tables, noise, pgpe, rgs
from gls_lightning.estimators._noise_tables import NoiseTables, members_that_fit
from gls_lightning.estimators.noise import perturbed, perturbed_members, standard_normal

STEP = Step(seed=3, batch=7)


@pytest.fixture(autouse=True)
def in_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (noise, _noise_tables, pgpe, rgs):
        monkeypatch.setattr(module, "in_tables", lambda params: True)


def make(*, grad: bool = False) -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = {"weight": (3, 2, 2), "scalar": (), "wide": (4,), "bias": (3,)}
    return {
        name: torch.rand(shape, dtype=torch.double if name == "wide" else torch.float).requires_grad_(grad)
        for name, shape in shapes.items()
    }


class Draws(TorchDispatchMode):
    """Counts the operators that draw."""

    number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.number += function.overloadpacket.__name__ in ("normal_", "randn", "normal")
        return function(*args, **(kwargs or {}))


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


def test_a_members_noise_depends_on_step_and_member_alone() -> None:
    params = make()
    alone, among = NoiseTables(params, STEP, [3]).row(3), NoiseTables(params, STEP, [1, 3, 5])
    assert equal(alone, among.row(3))
    assert equal(alone, standard_normal(params, STEP, 3))
    for other in (among.row(1), standard_normal(params, Step(3, 8), 3), standard_normal(params, Step(4, 7), 3)):
        assert not any(torch.equal(other[name], alone[name]) for name in params)
    assert {name: (n.shape, n.dtype) for name, n in alone.items()} == {n: (p.shape, p.dtype) for n, p in params.items()}


def test_one_draw_for_each_type_of_number_and_member() -> None:
    with Draws() as draws:
        NoiseTables(make(), STEP, range(5))
    assert draws.number == 2 * 5


def test_it_is_standard_normal() -> None:
    drawn = standard_normal({"x": torch.empty(20_000), "y": torch.empty(20_000)}, STEP, 0)
    both = torch.stack([drawn["x"], drawn["y"]])
    assert both.mean().abs() < 0.03
    torch.testing.assert_close(torch.cov(both), torch.eye(2), atol=0.05, rtol=0)
    assert (both > 2).float().mean().item() == pytest.approx(0.0228, abs=0.004)


def test_rows_of_members_and_their_opposites() -> None:
    tables = NoiseTables(make(), STEP, [4, 2])
    members = [(2, False), (4, True), (2, True), (2, False)]
    rows = tables.rows(members)
    for number, (source, negative) in enumerate(members):
        expected = {name: -n if negative else n for name, n in tables.row(source).items()}
        assert equal({name: row[number] for name, row in rows.items()}, expected)


def test_weighted_sums() -> None:
    tables, weights = NoiseTables(make(), STEP, range(3)), torch.tensor([0.5, -2.0, 1.0])
    rows = [tables.row(member) for member in range(3)]
    for name, total in tables.weighted_sum(weights).items():
        torch.testing.assert_close(total, sum(w * row[name] for w, row in zip(weights.tolist(), rows, strict=True)))
    for name, total in tables.weighted_sum_of_squares(weights).items():
        expected = sum(w * (row[name].square() - 1) for w, row in zip(weights.tolist(), rows, strict=True))
        torch.testing.assert_close(total, expected)


def one_sigma(params: dict[str, Tensor]) -> dict[str, Tensor]:
    sigma = torch.tensor(0.3)
    return dict.fromkeys(params, sigma)


SCALES: list[Callable[[dict[str, Tensor]], dict[str, Tensor]]] = [
    one_sigma,
    lambda params: {name: torch.tensor(0.1 * number) for number, name in enumerate(params)},
    lambda params: {name: torch.rand_like(p) for name, p in params.items()},
]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("sign", [1, -1])
def test_perturbed_parameters(scale: Callable[[dict[str, Tensor]], dict[str, Tensor]], sign: int) -> None:
    params, drawn = make(grad=True), standard_normal(make(), STEP, 0)
    scales = scale(make())
    result = perturbed(params, drawn, scales, sign)
    for name, p in params.items():
        torch.testing.assert_close(result[name], p.detach() + sign * scales[name] * drawn[name])
        assert result[name].dtype == p.dtype
        assert not result[name].requires_grad


@pytest.mark.parametrize("scale", SCALES)
def test_perturbed_members_are_those_of_each(scale: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    params, members = make(grad=True), [(1, False), (1, True), (0, True)]
    scales = scale(make())
    for drawn in (None, NoiseTables(params, STEP, range(3))):
        stacked = perturbed_members(params, STEP, members, scales, drawn)
        for number, (source, negative) in enumerate(members):
            alone = perturbed(params, standard_normal(params, STEP, source), scales, -1 if negative else 1)
            torch.testing.assert_close({name: p[number] for name, p in stacked.items()}, alone)


class Loss:
    """A smooth loss that allows its population some memory."""

    def __init__(self, noise_bytes: int) -> None:
        self.noise_bytes = noise_bytes

    def __call__(self, params: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        loss = sum((p.float() ** 3).sum() for p in params.values())
        return loss, {"loss": loss.detach()}


def estimate(estimator: GradientEstimator, noise_bytes: int, step: Step = STEP) -> list[Tensor]:
    params = make(grad=True)
    found = estimator(Loss(noise_bytes), params, step)
    found.loss.backward()
    second = list(getattr(estimator, "_sigma_gradients", {}).values())
    return [found.loss.detach(), found.metrics["loss"], *(p.grad for p in params.values()), *second]


ROW = 16 * 4 + 4 * 8
"""Bytes of a member's noise."""


@pytest.mark.parametrize("chunk_size", [1, 3, 8])
@pytest.mark.parametrize("noise_bytes", [0, 2 * ROW, 4 * ROW])
def test_pgpe_is_the_same_however_many_members_and_pairs_there_are_at_once(chunk_size: int, noise_bytes: int) -> None:
    def make_pgpe(chunk_size: int) -> PGPE:
        return PGPE(population_size=8, initial_sigma=0.1, chunk_size=chunk_size)

    expected = estimate(make_pgpe(1), 0)
    with Draws() as draws:
        found = estimate(make_pgpe(chunk_size), noise_bytes)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if noise_bytes == 4 * ROW:
        assert draws.number == 2 * 4, "kept for the gradient"
    else:
        assert draws.number > 2 * 4


def test_pgpe_is_what_its_formula_says() -> None:
    params, sigma, pairs = make(), 0.1, 4
    tables, loss = NoiseTables(params, STEP, range(pairs)), Loss(0)
    ends = [
        [loss({n: p + s * sigma * tables.row(i)[n] for n, p in params.items()})[0] for s in (1, -1)]
        for i in range(pairs)
    ]
    r = torch.tensor(ends)
    slopes, curvatures = (r[:, 0] - r[:, 1]) / 2, r.mean(1) - r.mean()
    e = [tables.row(i) for i in range(pairs)]
    first = [sum(slopes[i] * e[i][n] for i in range(pairs)) / (pairs * sigma) for n in params]
    second = [sum(curvatures[i] * (e[i][n].square() - 1) for i in range(pairs)) / ((pairs - 1) * sigma) for n in params]
    found = estimate(PGPE(population_size=2 * pairs, initial_sigma=sigma), 4 * ROW)
    torch.testing.assert_close(
        found[2:], [t.to(f) for t, f in zip([*first, *second], found[2:], strict=True)], rtol=1e-3, atol=1e-4
    )


def test_pgpe_divides_its_members_among_processes() -> None:
    whole = estimate(PGPE(population_size=8, initial_sigma=0.1), 4 * ROW)
    seen: list[Tensor] = []
    for rank in range(2):
        step = Step(3, 7, rank, 2, reduce=lambda losses: seen.append(losses) or losses)
        estimate(PGPE(population_size=8, initial_sigma=0.1, chunk_size=4), 4 * ROW, step)
    both = sum(seen)
    torch.testing.assert_close(both.mean(), whole[0])
    assert (seen[0][::2] != 0).all()
    assert (seen[0][1::2] == 0).all()


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("relative_sigma", [False, True])
def test_rgs_is_the_same_however_many_members_there_are_at_once(antithetic: bool, relative_sigma: bool) -> None:
    found = [
        estimate(
            RGS(population_size=6, sigma=0.1, antithetic=antithetic, relative_sigma=relative_sigma, chunk_size=n), 0
        )
        for n in (1, 4, 6)
    ]
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[2], found[0], rtol=1e-4, atol=1e-5)


def test_at_least_one_member_fits() -> None:
    assert [members_that_fit(make(), size) for size in (0, ROW, 2 * ROW - 1, 2 * ROW)] == [1, 1, 1, 2]
