"""PGPE, against closed forms.

The gradient for sigma has no public name, because only ``after_step`` needs it. These tests read it between the
evaluation and ``after_step`` from ``estimator._sigma_gradients``: by parameter name, summed over the batches since the
last step.
"""

import math
import weakref
from dataclasses import replace
from itertools import pairwise, product
from typing import NamedTuple

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from numpy.polynomial.hermite_e import hermegauss
from scipy.integrate import fixed_quad
from torch import Tensor, nn

from gls_lightning.bounds import Box, trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import PGPE, RGS, Backprop, Step, pgpe
from gls_lightning.objectives import Batch, Certified
from gls_lightning.relaxations import IBP, AlphaCROWN, DeepPoly

STEP = Step(seed=5, batch=2)
POINTS = torch.linspace(-0.9, 0.9, 5, dtype=torch.double)


class Samples(NamedTuple):
    """Independent estimates, ``[samples, coordinates]`` each."""

    mean: Tensor
    sigma: Tensor


def sample(function, x: Tensor, sigma: float | Tensor, number: int, population_size: int = 8, **options) -> Samples:
    """Estimates for a function of one vector."""
    estimator = PGPE(population_size=population_size, chunk_size=population_size, **options)
    params = {"x": x.detach().double().clone().requires_grad_()}
    estimator.prepare(params)
    estimator.sigmas.get_buffer("x").copy_(torch.as_tensor(sigma, dtype=torch.double))
    means, sigmas = [], []
    for batch in range(number):
        loss = estimator(lambda p: (function(p["x"]), {}), params, Step(0, batch)).loss
        means.append(torch.autograd.grad(loss, params["x"])[0])
        sigmas.append(estimator._sigma_gradients.pop("x"))
    return Samples(torch.stack(means), torch.stack(sigmas))


def assert_mean(samples: Tensor, expected: Tensor) -> None:
    standard_error = samples.std(0) / len(samples) ** 0.5
    assert (standard_error > 0).all()
    assert ((samples.mean(0) - expected).abs() <= 5 * standard_error).all()


def density(x: Tensor) -> Tensor:
    return torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)


def cumulative(x: Tensor) -> Tensor:
    return (1 + torch.erf(x / math.sqrt(2))) / 2


class Smoothed(NamedTuple):
    """A function of a vector, the sum of one function of each coordinate, and its smoothed derivatives."""

    function: object
    slope: object
    sigma_slope: object


LEVELS, PLACES = torch.tensor([2.0, -1.0, 0.5, 3.0]).double(), torch.tensor([-0.8, 0.1, 0.6]).double()
JUMPS = LEVELS.diff()


def steps(x: Tensor) -> Tensor:
    return LEVELS[0] * x.numel() + ((x[..., None] >= PLACES) * JUMPS).sum()


def steps_slope(x: Tensor, sigma: Tensor) -> Tensor:
    return (JUMPS * density((PLACES - x[:, None]) / sigma)).sum(-1) / sigma


def steps_sigma_slope(x: Tensor, sigma: Tensor) -> Tensor:
    return (JUMPS * density((PLACES - x[:, None]) / sigma) * (PLACES - x[:, None])).sum(-1) / sigma**2


TOY = {
    n: trace(nn.Sequential(nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 2)), (n,)) for n in (1, len(POINTS))
}  # traced here, because vmap forbids the random initialisation


def toy(w: Tensor) -> Tensor:
    """DeepPoly's lower bound of the sum of ReLU(x_i + w_i) + 1 for x_i in [-1, 1].

    With one neuron, the toy network of the paper's figure 3a.
    """
    n = len(w)
    ones = torch.ones(2, n, dtype=torch.double)
    tensors = {"0.weight": torch.eye(n).double(), "0.bias": w, "2.weight": ones, "2.bias": n * ones[:, 0]}
    first_output = torch.tensor([[[1.0, 0.0]]], dtype=torch.double)
    return DeepPoly()(TOY[n], tensors, Box(-ones[:1], ones[:1]), first_output).squeeze()


def toy_slope(x: Tensor, sigma: Tensor) -> Tensor:
    return cumulative(x / sigma) - density(x / sigma) / sigma


def toy_sigma_slope(x: Tensor, sigma: Tensor) -> Tensor:
    return density(x / sigma) * (1 + x / sigma**2)


SMOOTHED = {
    "absolute value": Smoothed(
        lambda x: x.abs().sum(),
        lambda x, sigma: torch.erf(x / sigma / math.sqrt(2)),
        lambda x, sigma: 2 * density(x / sigma),
    ),
    "step function": Smoothed(steps, steps_slope, steps_sigma_slope),
    "toy network": Smoothed(toy, toy_slope, toy_sigma_slope),
}
every_function = pytest.mark.parametrize("smoothed", SMOOTHED.values(), ids=SMOOTHED)


def test_the_toy_network_has_the_bound_of_the_paper():
    w = torch.tensor([-1.5, -0.5, -1e-6, 1e-6, 0.5, 1.5], dtype=torch.double)
    expected = torch.where(w > 0, w, 1.0)
    torch.testing.assert_close(torch.stack([toy(value[None]) for value in w]), expected)


@every_function
def test_the_closed_forms_agree_with_numeric_integration(smoothed):
    # f'(x) = E[f(x + sigma z) z] / sigma, and E[f(x + sigma z) (z^2 - 1)] / sigma for sigma
    evaluate = torch.func.vmap(smoothed.function)

    def expectation(x: float, sigma: float, weight) -> float:
        def integrand(z):
            z = torch.from_numpy(z)
            return (evaluate((x + sigma * z)[:, None]) * weight(z) * density(z)).numpy()

        bends = {(place - x) / sigma for place in (0.0, *PLACES.tolist())}
        return sum(fixed_quad(integrand, a, b, n=60)[0] for a, b in pairwise(sorted({-9.0, 9.0, *bends})))

    for x in (-0.5, 0.3):
        point, sigma = torch.tensor([x], dtype=torch.double), torch.tensor(0.4, dtype=torch.double)
        slope = expectation(x, 0.4, lambda z: z / 0.4)
        assert smoothed.slope(point, sigma).item() == pytest.approx(slope, abs=1e-9)
        slope = expectation(x, 0.4, lambda z: (z * z - 1) / 0.4)
        assert smoothed.sigma_slope(point, sigma).item() == pytest.approx(slope, abs=1e-9)


@every_function
def test_unbiased_where_the_loss_jumps_or_bends(smoothed):
    found = sample(smoothed.function, POINTS, 0.4, number=60, population_size=100)
    sigma = torch.tensor(0.4, dtype=torch.double)
    assert_mean(found.mean, smoothed.slope(POINTS, sigma))
    assert_mean(found.sigma, smoothed.sigma_slope(POINTS, sigma))


def test_rgs_sees_of_the_toy_network_all_but_the_jump():
    # appendix B.3; without the jump the smoothed slope is P(w + e > 0)
    x = POINTS.clone().requires_grad_()
    estimator, function = RGS(population_size=50, sigma=0.4, chunk_size=50), lambda p: (toy(p["x"]), {})
    found = [torch.autograd.grad(estimator(function, {"x": x}, Step(0, batch)).loss, x)[0] for batch in range(30)]
    assert_mean(torch.stack(found), cumulative(POINTS / 0.4))


@pytest.mark.parametrize("population_size", [4, 10])
def test_unbiased_on_a_quadratic_with_a_sigma_for_each_coordinate(population_size):
    torch.manual_seed(0)
    a, x = torch.randn(4, 4, dtype=torch.double), torch.randn(4, dtype=torch.double)
    sigma = torch.tensor([0.1, 0.3, 0.5, 1.0], dtype=torch.double)
    found = sample(lambda x: x @ a @ x, x, sigma, number=500, population_size=population_size)
    assert_mean(found.mean, (a + a.T) @ x)
    assert_mean(found.sigma, 2 * a.diagonal() * sigma)


@pytest.mark.parametrize("pairs", [2, 3])
def test_unbiased_exactly_where_the_noise_is_enumerated(pairs, monkeypatch):
    # three values with the moments of N(0, 1) up to the fifth: the mean over all combinations is the expectation for
    # x^3 + 2 x^2, whose smoothed value is x^3 + 3 x sigma^2 + 2 (x^2 + sigma^2); also shows the divisor n - 1
    values, weights = hermegauss(3)
    x, sigma = torch.tensor(0.7, dtype=torch.double, requires_grad=True), 0.4
    mean, sigma_mean = 0.0, 0.0
    for drawn in product(range(3), repeat=pairs):
        noise = torch.tensor(values[list(drawn)])
        monkeypatch.setattr(pgpe, "standard_normal", lambda params, step, pair, noise=noise: {"x": noise[pair]})
        estimator = PGPE(population_size=2 * pairs, initial_sigma=sigma)
        loss = estimator(lambda p: (p["x"] ** 3 + 2 * p["x"] ** 2, {}), {"x": x}, STEP).loss
        probability = math.prod(weights[list(drawn)] / weights.sum())
        mean += probability * torch.autograd.grad(loss, x)[0].item()
        sigma_mean += probability * estimator._sigma_gradients["x"].item()
    assert mean == pytest.approx(3 * 0.7**2 + 3 * sigma**2 + 4 * 0.7)
    assert sigma_mean == pytest.approx(6 * 0.7 * sigma + 4 * sigma)


def test_unbiased_where_the_loss_jumps_along_another_parameter():
    # x_1 sign(x_2) of appendix B.3, with x in two tensors; smoothed x_1 (2 P(x_2 + e > 0) - 1)
    params = {"a": torch.tensor(1.5, dtype=torch.double), "b": torch.tensor([0.2], dtype=torch.double)}
    params, sigma = {name: p.requires_grad_() for name, p in params.items()}, 0.5
    estimator = PGPE(population_size=16, initial_sigma=sigma, chunk_size=16)
    found = []
    for batch in range(300):
        loss = estimator(lambda p: (p["a"] * p["b"].sign().sum(), {}), params, Step(0, batch)).loss
        found.append(torch.stack([g.sum() for g in torch.autograd.grad(loss, list(params.values()))]))
    place = params["b"].detach() / sigma
    expected = torch.cat([2 * cumulative(place) - 1, 2 * 1.5 * density(place) / sigma])
    assert_mean(torch.stack(found), expected)


def test_variance_falls_with_the_population_size():
    # of the linear function c'x, one pair gives z_j c'z: variance |c|^2 + c_j^2, whatever sigma
    torch.manual_seed(0)
    c = torch.randn(20, dtype=torch.double)
    for pairs in (2, 16):
        found = sample(lambda x: c @ x, torch.zeros(20), 0.3, number=400, population_size=2 * pairs)
        expected = (c.square().sum() + c.square()) / pairs
        assert (found.mean.var(0) / expected).mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("rule", ["raw", "centered_ranks", "normalized"])
def test_points_in_the_direction_of_the_gradient_with_enough_pairs(rule):
    torch.manual_seed(0)
    a, x = torch.randn(10, 10, dtype=torch.double), torch.randn(10, dtype=torch.double)
    a = a @ a.T
    (found,) = sample(lambda x: x @ a @ x, x, 0.1, number=1, population_size=200, fitness_shaping=rule).mean
    assert F.cosine_similarity(found, 2 * a @ x, dim=0) > 0.5


def test_shaped_estimates_do_not_depend_on_the_scale_of_the_loss():
    for rule in ("centered_ranks", "normalized"):
        small, large = (
            sample(lambda x, scale=scale: scale * x.square().sum(), POINTS, 0.3, 1, fitness_shaping=rule)
            for scale in (1.0, 1000.0)
        )
        torch.testing.assert_close(small, large)


def test_a_flat_loss_has_no_gradients():
    found = sample(lambda x: 0 * x.sum() + 7, POINTS, 0.3, number=1)
    assert torch.equal(found.mean, torch.zeros_like(found.mean))
    assert torch.equal(found.sigma, torch.zeros_like(found.sigma))


def seen_by(estimator: PGPE, x: Tensor, step: Step = STEP) -> Tensor:
    """What the objective is evaluated at, ``[members, *x]``."""
    members = []
    estimator(lambda p: (members.append(p["x"]) or p["x"].sum(), {}), {"x": x.detach().requires_grad_()}, step)
    return torch.stack(members)


def test_members_come_in_pairs_with_opposite_noise_and_pairs_are_independent():
    x = torch.randn(3, 2, dtype=torch.double)
    members = seen_by(PGPE(population_size=6, initial_sigma=0.5), x)
    positive, negative = members[::2] - x, members[1::2] - x
    torch.testing.assert_close(positive, -negative)
    assert len(positive.flatten().unique()) == 3 * 6
    others = seen_by(PGPE(population_size=6, initial_sigma=0.5), x, Step(STEP.seed, STEP.batch + 1))
    assert not torch.isclose(members, others).any()


def test_noise_is_scaled_by_the_sigma_of_each_coordinate():
    x = torch.zeros(4, dtype=torch.double)
    estimator = PGPE(population_size=4, initial_sigma=1.0)
    noise = seen_by(estimator, x)
    sigma = torch.tensor([0.1, 1.0, 2.0, 5.0], dtype=torch.double)
    estimator.sigmas.get_buffer("x").copy_(sigma)
    torch.testing.assert_close(seen_by(estimator, x), sigma * noise)


def test_noise_is_standard_normal():
    noise = seen_by(PGPE(population_size=4, initial_sigma=2.0), torch.zeros(4000, dtype=torch.double))[::2].flatten()
    assert abs(noise.mean()) < 5 * 2 / len(noise) ** 0.5
    assert abs(noise.var() / 4 - 1) < 5 * (2 / len(noise)) ** 0.5


def test_no_graph_is_kept_and_nothing_is_differentiated():
    class NoBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, *_):
            raise AssertionError

    def objective(p):
        assert not torch.is_grad_enabled()
        assert not any(tensor.requires_grad for tensor in p.values())
        return NoBackward.apply(p["x"]).square().sum(), {"x": p["x"].sum()}

    x = torch.ones(3, requires_grad=True)
    estimate = PGPE(population_size=4)(objective, {"x": x}, STEP)
    estimate.loss.backward()
    assert x.grad.isfinite().all()
    assert [type(node).__name__ for node, _ in estimate.loss.grad_fn.next_functions if node] == ["AccumulateGrad"]
    assert estimate.metrics["x"].grad_fn is None
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("population_size", [4, 40])
def test_one_member_exists_at_a_time_whatever_the_population(population_size):
    alive, most = [], 0

    def objective(p):
        nonlocal most
        alive.append(weakref.ref(p["x"]))
        most = max(most, sum(reference() is not None for reference in alive))
        return p["x"].sum(), {}

    PGPE(population_size=population_size)(objective, {"x": torch.ones(3, requires_grad=True)}, STEP)
    assert len(alive) == population_size
    assert most == 1


@pytest.mark.parametrize("chunk_size", [2, 3])
def test_no_more_members_exist_than_a_chunk_holds(chunk_size, monkeypatch):
    alive, sizes, perturbed = [], [], pgpe.perturbed

    def counting(*args):
        params = perturbed(*args)
        alive.append(weakref.ref(params["x"]))
        sizes.append(sum(reference() is not None for reference in alive))
        return params

    monkeypatch.setattr(pgpe, "perturbed", counting)
    estimator = PGPE(population_size=20, chunk_size=chunk_size)
    estimator(lambda p: (p["x"].sum(), {}), {"x": torch.ones(3, requires_grad=True)}, STEP)
    assert len(sizes) == 20
    assert max(sizes) == chunk_size


def learned(losses, **options) -> tuple[PGPE, dict[str, Tensor]]:
    """An estimator that has been given these losses, batch by batch, and its sigma gradients of each batch."""
    estimator = PGPE(population_size=4, **options)
    params = {"layer.x": torch.zeros(3, dtype=torch.double, requires_grad=True)}
    collected = []
    for batch, values in enumerate(losses):
        answers = iter(values)
        before = estimator._sigma_gradients.get("layer.x", torch.zeros(3, dtype=torch.double)).clone()
        estimator(
            lambda p, answers=answers: (torch.tensor(next(answers), dtype=torch.double), {}), params, Step(0, batch)
        )
        collected.append(estimator._sigma_gradients["layer.x"] - before)
    return estimator, torch.stack(collected)


def test_sigma_gradient_by_hand():
    _, (found,) = learned([[4.0, 1.0, 2.0, 6.0]], initial_sigma=0.5)
    z = seen_by(PGPE(population_size=4, initial_sigma=1.0), torch.zeros(3, dtype=torch.double), Step(0, 0))[::2]
    # the means of the pairs are 2.5 and 4, the baseline 3.25
    expected = (-0.75 * (z[0] ** 2 - 1) + 0.75 * (z[1] ** 2 - 1)) / 0.5 / (2 - 1)
    torch.testing.assert_close(found, expected)


def test_sigma_moves_by_the_mean_over_accumulated_batches_relative_to_its_square():
    estimator, collected = learned(
        [[4.0, 1.0, 2.0, 6.0], [0.0, 1.0, 0.5, 0.2], [1.0, 1.0, 3.0, 1.0]],
        initial_sigma=0.5,
        sigma_learning_rate=0.01,
    )
    estimator.after_step()
    expected = 0.5 - 0.01 * 0.5**2 * collected.mean(0)
    torch.testing.assert_close(estimator.sigmas.get_buffer("layer/x"), expected)
    estimator.after_step()  # without a batch in between there is nothing to move by
    torch.testing.assert_close(estimator.sigmas.get_buffer("layer/x"), expected)


def test_sigma_moves_by_no_more_than_the_largest_change():
    estimator, (gradient,) = learned([[4e6, 1e6, 2e6, 6e6]], initial_sigma=0.5, sigma_max_change=0.1)
    estimator.after_step()
    torch.testing.assert_close(estimator.sigmas.get_buffer("layer/x"), 0.5 * (1 - 0.1 * gradient.sign()))


@settings(max_examples=40, deadline=None)
@given(
    losses=st.lists(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4), min_size=1, max_size=4),
    initial_sigma=st.floats(1e-6, 1e3),
    rate=st.floats(0, 1e3),
    largest=st.floats(0.01, 0.99),
)
def test_sigma_stays_positive_and_changes_by_no_more_than_allowed(losses, initial_sigma, rate, largest):
    estimator = PGPE(population_size=4, initial_sigma=initial_sigma, sigma_learning_rate=rate, sigma_max_change=largest)
    params = {"x": torch.zeros(3, requires_grad=True)}
    estimator.prepare(params)
    for batch, values in enumerate(losses):
        before, answers = estimator.sigmas.get_buffer("x").clone(), iter(values)
        estimator(lambda p, answers=answers: (torch.tensor(next(answers)), {}), params, Step(0, batch))
        estimator.after_step()
        after = estimator.sigmas.get_buffer("x")
        assert (after > 0).all()
        assert ((after / before - 1).abs() <= largest + 1e-5).all()


def test_sigma_learning_rate_0_leaves_sigma_alone_and_needs_but_one_pair():
    estimator = PGPE(population_size=2, initial_sigma=0.5, sigma_learning_rate=0.0)
    x = torch.ones(3, requires_grad=True)
    estimator(lambda p: (p["x"].square().sum(), {}), {"x": x}, STEP).loss.backward()
    estimator.after_step()
    assert estimator._sigma_gradients == {}
    assert torch.equal(estimator.sigmas.get_buffer("x"), torch.full((3,), 0.5))
    assert x.grad.isfinite().all()


def test_sigma_learns_where_the_loss_is_curved():
    # the smoothed loss of x^2 - y^2 falls with a smaller sigma of x, and with a larger one of y
    estimator = PGPE(population_size=20, initial_sigma=0.5, chunk_size=20)
    params = {"x": torch.zeros(1, requires_grad=True), "y": torch.zeros(1, requires_grad=True)}
    for batch in range(20):
        estimator(lambda p: (p["x"].square().sum() - p["y"].square().sum(), {}), params, Step(0, batch))
        estimator.after_step()
    assert estimator.sigmas.get_buffer("x") < 0.4
    assert estimator.sigmas.get_buffer("y") > 0.6


def test_sigma_is_the_mean_over_all_coordinates():
    estimator = PGPE(initial_sigma=0.25)
    assert estimator.sigma == 0.25
    estimator.prepare({"a.b": torch.zeros(3), "c": torch.zeros(())})
    assert estimator.sigma == 0.25
    estimator.sigmas.get_buffer("c").fill_(1.25)
    assert estimator.sigma == 0.5
    assert estimator.sigma.shape == ()


def test_learned_sigmas_are_saved_and_loaded():
    estimator, _ = learned([[4.0, 1.0, 2.0, 6.0]], initial_sigma=0.5)
    estimator.after_step()
    saved = estimator.state_dict()
    assert [value.shape for value in saved.values()] == [(3,)]
    clone = PGPE(population_size=4, initial_sigma=0.1)
    clone.prepare({"layer.x": torch.zeros(3, dtype=torch.double, requires_grad=True)})
    clone.load_state_dict(saved)
    x = torch.ones(3, dtype=torch.double, requires_grad=True)
    found = [
        torch.autograd.grad(each(lambda p: (p["layer.x"].square().sum(), {}), {"layer.x": x}, STEP).loss, x)[0]
        for each in (estimator, clone)
    ]
    assert torch.equal(*found)


def test_preparing_again_keeps_what_is_learned():
    estimator, _ = learned([[4.0, 1.0, 2.0, 6.0]], initial_sigma=0.5)
    estimator.after_step()
    before = estimator.sigmas.get_buffer("layer/x").clone()
    estimator.prepare({"layer.x": torch.zeros(3, dtype=torch.double), "new": torch.zeros(2)})
    assert torch.equal(estimator.sigmas.get_buffer("layer/x"), before)
    assert torch.equal(estimator.sigmas.get_buffer("new"), torch.full((2,), 0.5))


DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_keeps_the_dtype_and_device_of_every_parameter(dtype, device):
    params = {"x": torch.ones(3, dtype=dtype, device=device), "s": torch.ones((), dtype=dtype, device=device)}
    params, kinds = {name: p.requires_grad_() for name, p in params.items()}, set()

    def objective(p):
        kinds.update((tensor.dtype, tensor.device.type) for tensor in p.values())
        return (p["x"].sum() * p["s"]).float(), {}

    estimator = PGPE(population_size=4, initial_sigma=0.5)
    estimator(objective, params, STEP).loss.backward()
    estimator.after_step()
    kinds |= {(tensor.dtype, tensor.device.type) for tensor in estimator.sigmas.buffers()}
    kinds |= {(p.grad.dtype, p.grad.device.type) for p in params.values()}
    assert kinds == {(dtype, device)}


def test_processes_learn_the_same_sigma_as_one():
    x = torch.ones(4, dtype=torch.double, requires_grad=True)

    def learn(step: Step) -> tuple[PGPE, Tensor]:
        estimator = PGPE(population_size=8, initial_sigma=0.5)
        loss = estimator(lambda p: (p["x"].exp().sum(), {}), {"x": x}, step).loss
        (gradient,) = torch.autograd.grad(loss, x)
        estimator.after_step()
        return estimator, gradient

    sent: list[Tensor] = []
    steps = [Step(0, 0, rank, 2) for rank in range(2)]
    for step in steps:
        learn(replace(step, reduce=lambda value: sent.append(value) or value))
    one, gradient = learn(Step(0, 0))
    for step in steps:
        each, share = learn(replace(step, reduce=lambda value: sum(sent)))
        assert torch.equal(each.sigmas.get_buffer("x"), one.sigmas.get_buffer("x"))
        assert torch.equal(share, gradient)
    # each sends its own losses, and zeros in the places of the others'
    assert [(vector != 0).tolist() for vector in sent] == [[True, False] * 4, [False, True] * 4]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_population_that_the_processes_cannot_share_is_refused(rank):
    with pytest.raises(ConfigurationError, match="population_size is 4; it must be a multiple of the 3 processes"):
        PGPE(population_size=4)(
            lambda p: (p["x"].sum(), {}), {"x": torch.ones(1, requires_grad=True)}, Step(0, 0, rank, 3)
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population_size": 5}, "population_size is 5; it must be even, and at least 4 for PGPE to learn sigma"),
        ({"population_size": 0}, "population_size is 0"),
        ({"population_size": 2}, "population_size is 2"),
        ({"population_size": 0, "sigma_learning_rate": 0.0}, "population_size is 0"),
        ({"initial_sigma": 0.0}, "initial_sigma is 0.0; it must be finite and positive"),
        ({"initial_sigma": -1.0}, "initial_sigma is -1.0"),
        ({"initial_sigma": math.inf}, "initial_sigma is inf"),
        ({"initial_sigma": math.nan}, "initial_sigma is nan"),
        ({"sigma_learning_rate": -0.1}, "sigma_learning_rate is -0.1; it must be finite and not negative"),
        ({"sigma_learning_rate": math.nan}, "sigma_learning_rate is nan"),
        ({"sigma_learning_rate": math.inf}, "sigma_learning_rate is inf"),
        ({"sigma_max_change": 0.0}, "sigma_max_change is 0.0; it must be between 0 and 1"),
        ({"sigma_max_change": 1.0}, "sigma_max_change is 1.0"),
        ({"sigma_max_change": math.nan}, "sigma_max_change is nan"),
        ({"fitness_shaping": "ranks"}, "fitness_shaping is 'ranks'; it must be one of"),
        ({"chunk_size": 0}, "chunk_size is 0; it must be at least 1"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        PGPE(**arguments)


def certified(relaxation) -> tuple[object, dict[str, Tensor]]:
    """The certified loss of a tiny convolutional network, and its parameters."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = (nn.Conv2d(1, 2, 3, 2), nn.ReLU(), nn.Conv2d(2, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(2, 3))
        net, x = nn.Sequential(*layers).double(), torch.rand(3, 1, 5, 5, dtype=torch.double)
    graph = trace(net, (1, 5, 5))
    batch = Batch(x, torch.tensor([0, 1, 2]), torch.tensor(0.1, dtype=torch.double))
    return lambda p: Certified()(graph, relaxation, p, batch), dict(net.named_parameters())


@pytest.mark.parametrize("relaxation", [IBP(), DeepPoly()], ids=["IBP", "DeepPoly"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda n: PGPE(population_size=8, initial_sigma=0.05, chunk_size=n), id="PGPE"),
        pytest.param(lambda n: RGS(population_size=8, sigma=0.05, chunk_size=n), id="RGS"),
    ],
)
def test_members_bounded_together_give_what_they_give_one_by_one(make, relaxation):
    objective, params = certified(relaxation)
    results = {}
    for chunk_size in (1, 3, 8):
        estimator = make(chunk_size)
        estimate = estimator(objective, params, STEP)
        gradients = torch.autograd.grad(estimate.loss, list(params.values()))
        learned = getattr(estimator, "_sigma_gradients", {})
        results[chunk_size] = (estimate.loss.detach(), dict(estimate.metrics), gradients, learned)
    assert any(gradient.abs().max() > 1e-3 for gradient in results[1][2])
    torch.testing.assert_close(results[3], results[1])
    torch.testing.assert_close(results[8], results[1])


def test_estimates_the_gradient_of_a_certified_loss():
    # with a small sigma the smoothed loss is the loss, whose gradient is at hand
    objective, params = certified(IBP())
    estimator = PGPE(population_size=2000, initial_sigma=1e-4, chunk_size=500, sigma_learning_rate=0.0)
    found, exact = (
        torch.cat([g.flatten() for g in torch.autograd.grad(each(objective, params, STEP).loss, list(params.values()))])
        for each in (estimator, Backprop())
    )
    assert F.cosine_similarity(found, exact, dim=0) > 0.95
    # the part along the gradient has a relative variance of 2 / pairs
    assert (found @ exact / exact.square().sum()).item() == pytest.approx(1, abs=5 * (2 / 1000) ** 0.5)


def test_trains_with_a_relaxation_that_has_no_gradients():
    objective, params = certified(AlphaCROWN(steps=2))
    estimate = PGPE(population_size=4, initial_sigma=0.05)(objective, params, STEP)
    estimate.loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in params.values())
    assert estimate.metrics.keys() == {"natural_accuracy", "certified_accuracy"}
