"""What every gradient estimator must do; a new one joins by a line in ESTIMATORS."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from gls_lightning.estimators import RGS, Backprop, GradientEstimator, Key

ESTIMATORS: dict[str, Callable[[], GradientEstimator]] = {
    "Backprop": Backprop,
    "RGS": lambda: RGS(population_size=4, sigma=0.1),
}
KEY = Key(seed=3, batch=17)


@pytest.fixture(params=ESTIMATORS)
def estimator(request) -> GradientEstimator:
    return ESTIMATORS[request.param]()


@pytest.fixture
def params() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    shapes = {"matrix": (3, 2), "vector": (5,), "scalar": ()}
    return {name: torch.randn(shape, dtype=torch.double, requires_grad=True) for name, shape in shapes.items()}


def objective(params):
    """A smooth function of all parameters, with a metric."""
    joint = torch.cat([p.flatten() for p in params.values()])
    return (joint.sin() * joint.roll(1)).sum(), {"largest": joint.amax(), "count": torch.tensor(12.0)}


def gradients(estimator, params, key=KEY, function=objective) -> dict[str, torch.Tensor]:
    estimate = estimator(function, params, key)
    return dict(zip(params, torch.autograd.grad(estimate.loss, list(params.values())), strict=True))


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def network_objective(net):
    """Cross-entropy with batch statistics, as a pure function of the parameters."""
    torch.manual_seed(2)
    x, y = torch.randn(8, 4), torch.arange(8) % 3

    def evaluate(params):
        buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
        return F.cross_entropy(functional_call(net, {**buffers, **params}, x), y), {}

    return evaluate


def test_gradient_of_a_linear_function_is_exact(estimator, params):
    # smoothing changes a linear function by a constant only
    slopes = {name: torch.randn_like(p) for name, p in params.items()}
    found = gradients(estimator, params, function=lambda p: (sum((p[n] * slopes[n]).sum() for n in p), {}))
    for name, slope in slopes.items():
        torch.testing.assert_close(found[name], slope)


def test_approaches_the_gradient_without_bias(estimator, params):
    # E[f'(x + e)] of sin(a) b with independent a, b: cos and sin shrink by exp(-sigma^2 / 2)
    joint = torch.cat([p.detach().flatten() for p in params.values()])
    shrink = torch.exp(-(getattr(estimator, "sigma", torch.zeros(())).double() ** 2) / 2)
    exact = shrink * (joint.cos() * joint.roll(1) + joint.roll(-1).sin())
    samples = [gradients(estimator, params, Key(0, batch)) for batch in range(400)]
    samples = torch.stack([torch.cat([g.flatten() for g in sample.values()]) for sample in samples])
    standard_error = samples.std(0) / len(samples) ** 0.5
    assert ((samples.mean(0) - exact).abs() <= 5 * standard_error + 1e-12).all()


def test_deterministic_given_the_key_whatever_the_global_generator(estimator, params):
    torch.manual_seed(1)
    first = estimator(objective, params, KEY)
    first_gradients = torch.autograd.grad(first.loss, list(params.values()))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = estimator(objective, params, KEY)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.loss, second.loss)
    assert all(torch.equal(first.metrics[name], second.metrics[name]) for name in first.metrics)
    for a, b in zip(first_gradients, torch.autograd.grad(second.loss, list(params.values())), strict=True):
        assert torch.equal(a, b)


def test_mean_over_the_ranks_is_the_estimate_of_one_process(estimator, params):
    whole = gradients(estimator, params)
    shares = [gradients(estimator, params, Key(KEY.seed, KEY.batch, rank, 2)) for rank in range(2)]
    for name, gradient in whole.items():
        torch.testing.assert_close(sum(share[name] for share in shares) / 2, gradient)
    losses = [estimator(objective, params, Key(KEY.seed, KEY.batch, rank, 2)).loss for rank in range(2)]
    torch.testing.assert_close(sum(losses) / 2, estimator(objective, params, KEY).loss)


def test_loss_and_metrics_are_means_over_what_was_evaluated(estimator, params):
    evaluated = []

    def recording(p):
        loss, metrics = objective(p)
        evaluated.append((loss.detach(), metrics["largest"].detach()))
        return loss, metrics

    loss, metrics = estimator(recording, params, KEY)
    means = torch.tensor(evaluated, dtype=torch.double).mean(0)
    assert loss.shape == ()
    torch.testing.assert_close(loss, means[0])
    torch.testing.assert_close(metrics["largest"], means[1])
    assert metrics["count"] == 12
    assert loss.requires_grad
    assert not any(metric.requires_grad for metric in metrics.values())


def test_parameters_and_buffers_stay_untouched(estimator):
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    estimator(network_objective(net), dict(net.named_parameters()), KEY)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_every_parameter_gets_a_gradient_zero_where_absent(estimator, params):
    absent = torch.ones(2, 2, dtype=torch.double, requires_grad=True)
    found = gradients(estimator, {**params, "absent": absent}, function=lambda p: (p["vector"].square().sum(), {}))
    assert found["vector"].abs().sum() > 0
    for name in ("absent", "matrix", "scalar"):
        assert torch.equal(found[name], torch.zeros_like(found[name]))


def test_frozen_parameters_stay_without_a_gradient(estimator):
    net = network()
    net[0].weight.requires_grad_(False)
    estimate = estimator(network_objective(net), {n: p for n, p in net.named_parameters() if p.requires_grad}, KEY)
    estimate.loss.backward()
    assert net[0].weight.grad is None
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)


def test_backward_puts_the_estimate_into_grad_scaled_by_what_follows(estimator, params):
    expected = gradients(estimator, params)
    (estimator(objective, params, KEY).loss / 4).backward()
    for name, p in params.items():
        torch.testing.assert_close(p.grad, expected[name] / 4)
        assert p.grad.dtype == p.dtype


def test_gradients_accumulate(estimator, params):
    expected = [gradients(estimator, params, Key(0, batch)) for batch in range(2)]
    for batch in range(2):
        estimator(objective, params, Key(0, batch)).loss.backward()
    for name, p in params.items():
        torch.testing.assert_close(p.grad, expected[0][name] + expected[1][name])


def test_adds_to_the_gradient_of_another_loss_term(estimator, params):
    expected = gradients(estimator, params)
    loss = estimator(objective, params, KEY).loss + params["vector"].sum()
    torch.testing.assert_close(torch.autograd.grad(loss, params["vector"])[0], expected["vector"] + 1)


def test_autocast_around_changes_nothing_where_the_objective_ignores_it(estimator, params):
    params = {name: p.detach().float().requires_grad_() for name, p in params.items()}
    expected = gradients(estimator, params)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(estimator, params)
    assert all(torch.equal(found[name], expected[name]) for name in params)


def test_compiled_equals_eager(estimator):
    net = network()
    params, function = dict(net.named_parameters()), network_objective(net)
    expected = gradients(estimator, params, function=function)
    compiled = torch.compile(estimator, backend="aot_eager")
    for name, gradient in gradients(compiled, params, function=function).items():
        torch.testing.assert_close(gradient, expected[name])


def test_has_no_state_in_a_checkpoint_beyond_what_it_learns(estimator):
    assert not any(p.requires_grad for p in estimator.parameters())
    clone = ESTIMATORS[type(estimator).__name__]()
    clone.load_state_dict(estimator.state_dict())
