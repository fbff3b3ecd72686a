"""The regularisers of Shi et al. against their formulas in numpy, and by hand."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gls_lightning.bounds import Graph, trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.networks import Normalization
from gls_lightning.objectives import Batch, ShiRegularizer

SHAPE = (1, 4, 4)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(
        *(Normalization(mean=[0.2], std=[0.3]), nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(32, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3)),
    )
    for tensor in (net[5].running_mean, net[5].running_var, net[5].weight, net[5].bias):
        tensor.data.add_(0.3 * torch.randn_like(tensor))
    net[1].weight.data.mul_(1 + seed)  # the larger, the looser the bounds
    return net.double().eval()


def batch(epsilon: float, progress: float = 0.25) -> Batch:
    """Some of the samples have clipped boxes."""
    inputs = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1)).double()
    return Batch(inputs, torch.zeros(5, dtype=torch.long), torch.tensor(epsilon).double(), (), progress)


def evaluate(regularizer: ShiRegularizer, net: nn.Module, samples: Batch) -> Tensor:
    return regularizer(trace(net, samples.inputs.shape[1:]), net.state_dict(keep_vars=True), samples, ())


def affine(weight: np.ndarray, bias: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of ``weight v + bias`` from the ends of each product."""
    ends = np.stack([weight * lower[:, None], weight * upper[:, None]])
    return ends.min(0).sum(-1) + bias, ends.max(0).sum(-1) + bias


def convolution_matrix(kernel: np.ndarray, size: int) -> np.ndarray:
    """A 3x3 convolution of one channel with padding 1 as a matrix, entry by entry."""
    matrix = np.zeros((len(kernel) * size * size, size * size))
    for channel, row, column, i, j in np.ndindex(len(kernel), size, size, 3, 3):
        y, x = row + i - 1, column + j - 1
        if 0 <= y < size and 0 <= x < size:
            matrix[(channel * size + row) * size + column, y * size + x] = kernel[channel, 0, i, j]
    return matrix


def relu_inputs(net: nn.Sequential, samples: Batch) -> tuple[float, list[tuple[np.ndarray, np.ndarray]]]:
    """The mean half-width behind the normalisation, and the bounds of both ReLU inputs, for ``network`` above."""
    state = {name: tensor.detach().numpy() for name, tensor in net.state_dict().items()}
    x, radius = samples.inputs.flatten(1).numpy(), max(samples.epsilon.item(), 1e-6)
    lower, upper = (np.clip(side, 0, 1) for side in (x - radius, x + radius))
    lower, upper = (lower - 0.2) / 0.3, (upper - 0.2) / 0.3
    half_width = ((upper - lower) / 2).mean()
    first = affine(convolution_matrix(state["1.weight"], 4), np.repeat(state["1.bias"], 16), lower, upper)
    lower, upper = (np.maximum(side, 0) for side in first)
    lower, upper = affine(state["4.weight"], state["4.bias"], lower, upper)
    scale = state["5.weight"] / np.sqrt(state["5.running_var"] + net[5].eps)
    ends = [(side - state["5.running_mean"]) * scale + state["5.bias"] for side in (lower, upper)]
    return half_width, [first, (np.minimum(*ends), np.maximum(*ends))]


def formula(half_width: float, layers: list[tuple[np.ndarray, np.ndarray]], tau: float) -> tuple[float, float]:
    """Sums of tightness and balance over the layers, as published."""
    tightness = balance = 0.0
    for lower, upper in layers:
        tightness += max(0.0, tau - half_width / max(((upper - lower) / 2).mean(), 1e-12)) / tau
        centre, active, inactive = (lower + upper) / 2, lower > 0, upper < 0
        if not (active.any() and inactive.any()):
            continue
        deviation = (centre - centre.mean()) ** 2
        for ratio in (
            (centre * active).mean() / -(centre * inactive).mean(),
            (deviation * active).sum() / (deviation * inactive).sum(),
        ):
            balance += max(0.0, tau - min(ratio, 1 / max(ratio, 1e-12))) / tau
    return tightness, balance


@pytest.mark.parametrize("epsilon", [0.0, 1e-8, 0.003, 0.02, 0.3])
@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_against_the_formulas(epsilon: float, tau: float, seed: int) -> None:
    net, samples = network(seed), batch(epsilon, progress=0.25)
    terms = dict(zip(("tightness", "relu_balance"), formula(*relu_inputs(net, samples), tau), strict=True))
    for chosen in ({"tightness"}, {"relu_balance"}, {"tightness", "relu_balance"}, set()):
        regularizer = ShiRegularizer(weight=0.7, tolerance=tau, **{name: name in chosen for name in terms})
        expected = 0.7 * (1 - 0.25) * sum(terms[name] for name in chosen) / 2
        assert evaluate(regularizer, net, samples).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_formulas_are_not_tested_where_they_are_zero() -> None:
    found = [formula(*relu_inputs(network(seed), batch(0.003)), 0.5) for seed in range(4)]
    assert all(sum(value > 0 for value in values) >= 2 for values in zip(*found, strict=True))


def small_network(*rows: tuple[float, float]) -> nn.Sequential:
    """Hidden units ``a x + b`` of one input."""
    net = nn.Sequential(nn.Linear(1, len(rows)), nn.ReLU(), nn.Linear(len(rows), 2)).double()
    net[0].weight.data.copy_(torch.tensor([[a] for a, _ in rows]))
    net[0].bias.data.copy_(torch.tensor([b for _, b in rows]))
    return net


def point(x: float, epsilon: float, progress: float = 0.25) -> Batch:
    return Batch(torch.tensor([[x]]).double(), torch.tensor([0]), torch.tensor(epsilon).double(), (), progress)


def test_by_hand() -> None:
    """x in [0.4, 0.6]: 2 x is in [0.8, 1.2], x - 1 in [-0.6, -0.4]; t0 / t is 2 / 3, the ratios 1 / 2 and 1."""
    net = small_network((2.0, 0.0), (1.0, -1.0))
    tightness, balance = (0.8 - 2 / 3) / 0.8, (0.8 - 0.5) / 0.8
    regularizer = ShiRegularizer(weight=0.5, tolerance=0.8)
    assert evaluate(regularizer, net, point(0.5, 0.1)).item() == pytest.approx(0.5 * 0.75 * (tightness + balance))
    assert evaluate(ShiRegularizer(), net, point(0.5, 0.1)).item() == 0  # no ratio is below the default of 0.5


def test_by_hand_with_a_clipped_box_and_an_unstable_neuron() -> None:
    """x in [0, 0.2]: 4 x + 1 is in [1, 1.8], x - 1 in [-1, -0.8], 10 x - 1 in [-1, 1]."""
    net = small_network((4.0, 1.0), (1.0, -1.0), (10.0, -1.0))
    tightness = 0.5 - 0.1 / ((0.4 + 0.1 + 1.0) / 3)
    mean = (1.4 - 0.9 + 0.0) / 3
    spread = (0.9 + mean) ** 2 / (1.4 - mean) ** 2
    balance = max(0, 0.5 - 0.9 / 1.4) + max(0, 0.5 - min(spread, 1 / spread))
    value = evaluate(ShiRegularizer(weight=1.0), net, point(0.05, 0.15, progress=0.0))
    assert value.item() == pytest.approx((tightness + balance) / 0.5)


@pytest.mark.parametrize("bias", [3.0, -3.0, 0.0], ids=["all active", "all inactive", "all unstable"])
def test_layers_with_one_kind_of_neurons_have_no_balance(bias: float) -> None:
    net = small_network((1.0, bias - 0.5), (-2.0, bias + 1.0))
    value = evaluate(ShiRegularizer(tightness=False), net, point(0.5, 0.3))
    assert value.item() == 0
    gradients = torch.autograd.grad(value, list(net.parameters()), allow_unused=True)
    assert all(g is None or (g == 0).all() for g in gradients)


@pytest.mark.parametrize("fill", [0.0, 1e-30, 1.0])
def test_dead_and_equal_neurons_have_finite_gradients(fill: float) -> None:
    net = network().float()
    for parameter in net.parameters():
        parameter.data.fill_(fill)
    samples = batch(0.1)._replace(inputs=batch(0.1).inputs.float(), epsilon=torch.tensor(0.1))
    value = evaluate(ShiRegularizer(), net, samples)
    assert value.isfinite()
    gradients = torch.autograd.grad(value, list(net.parameters()), materialize_grads=True, allow_unused=True)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_fades_and_costs_nothing_at_the_target() -> None:
    net = network()
    values = [evaluate(ShiRegularizer(), net, batch(0.02, p)).item() for p in (0.0, 0.25, 0.75)]
    assert values[0] > 0
    assert values[1:] == pytest.approx([0.75 * values[0], 0.25 * values[0]])
    nothing: Graph = None  # type: ignore[assignment]
    assert ShiRegularizer()(nothing, {}, batch(0.02, 1.0), ()).item() == 0


def test_networks_without_relus_have_none() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    assert evaluate(ShiRegularizer(), net, batch(0.1)).item() == 0


@pytest.mark.parametrize("epsilon", [0.0, 0.02])
def test_gradient_against_finite_differences(epsilon: float) -> None:
    net, samples = network(2), batch(epsilon)
    graph, tensors = trace(net, SHAPE), dict(net.state_dict())
    names = [name for name, _ in net.named_parameters()]

    def term(*params: Tensor) -> Tensor:
        return ShiRegularizer()(graph, {**tensors, **dict(zip(names, params, strict=True))}, samples, ())

    params = tuple(tensors[name].clone().requires_grad_() for name in names)
    assert term(*params) > 0
    assert torch.autograd.gradcheck(term, params, eps=1e-7, atol=1e-5)


def test_vmap_over_parameters_equals_the_loop() -> None:
    net, samples = network(), batch(0.02)
    graph, tensors = trace(net, SHAPE), dict(net.state_dict())

    def term(member: dict[str, Tensor]) -> Tensor:
        return ShiRegularizer()(graph, {**tensors, **member}, samples, ())

    torch.manual_seed(2)
    stack = {name: p.detach() + 0.1 * torch.randn(3, *p.shape).double() for name, p in net.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a slow fallback of vmap warns
        together = torch.func.vmap(term)(stack)
        gradients = torch.func.vmap(torch.func.grad(term))(stack)
    for i in range(3):
        member = {name: p[i].clone().requires_grad_() for name, p in stack.items()}
        value = term(member)
        torch.testing.assert_close(together[i], value)
        expected = torch.autograd.grad(value, list(member.values()), materialize_grads=True, allow_unused=True)
        torch.testing.assert_close([gradients[name][i] for name in member], list(expected))


def test_says_that_it_fades_and_what_it_is_a_function_of() -> None:
    assert ShiRegularizer.uses_batch_statistics
    assert ShiRegularizer.fades_with_epsilon
    assert (ShiRegularizer.name, ShiRegularizer().weight, ShiRegularizer().tolerance) == ("shi", 0.5, 0.5)


@pytest.mark.parametrize(
    ("option", "value"),
    [("weight", -1.0), ("weight", float("nan")), ("weight", float("inf"))]
    + [("tolerance", value) for value in (0.0, -0.5, float("nan"), float("inf"))],
)
def test_options_out_of_range(option: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{option}( of ShiRegularizer)? is {value}; it must be "):
        ShiRegularizer(**{option: value})
