"""What every gradient estimator must do; a new one joins by a line in ESTIMATORS."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gls_lightning.bounds import trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import PGPE, RGS, SAM, Backprop, GradientEstimator, Step


@dataclass(frozen=True)
class Case:
    """An estimator, and what by its nature is not to be expected of it.

    Attributes:
        make: Makes the estimator.
        exact_where_linear: Whether it finds the gradient of a linear function, and the zeros of parameters that are
            absent, from one evaluation; one that never differentiates finds them only in expectation.
        unbiased: Whether its mean is the gradient of the loss smoothed by ``noise``.
        noise: Standard deviation of the perturbations of a parameter tensor.
        unreported: Number of evaluations, the first ones, that do not count in what it reports.
        sends: How many values it sends to the other processes, in one tensor, given the number of parameters.
        looped: For an estimator that uses ``vmap`` the same without it. The two must agree, so what is shown by many
            evaluations is shown of the latter alone.
    """

    make: Callable[[], GradientEstimator]
    exact_where_linear: bool = True
    unbiased: bool = True
    noise: Callable[[Tensor], float | Tensor] = lambda p: 0.1
    unreported: int = 0
    sends: Callable[[int], int] = lambda parameters: 0
    looped: Callable[[], GradientEstimator] | None = None

    @property
    def has_population(self) -> bool:
        return self.make().population_size > 1


def rgs(**options) -> Callable[[], RGS]:
    return lambda: RGS(**{"population_size": 4, "sigma": 0.1, **options})


def pgpe(**options) -> Callable[[], PGPE]:
    return lambda: PGPE(**{"population_size": 8, "initial_sigma": 0.1, **options})


def sam(**options) -> Callable[[], SAM]:
    return lambda: SAM(rho=0.1, **options)


def root_mean_square(p: Tensor) -> Tensor:
    return p.detach().square().mean().sqrt()


ESTIMATORS: dict[str, Case] = {
    "Backprop": Case(Backprop, noise=lambda p: 0.0),
    "RGS": Case(rgs()),
    "RGS, antithetic": Case(rgs(antithetic=True)),
    "RGS, relative sigma": Case(rgs(relative_sigma=True), noise=lambda p: 0.1 * root_mean_square(p)),
    "RGS, relative sigma with a smallest scale": Case(
        rgs(relative_sigma=True, smallest_scale=0.7), noise=lambda p: 0.1 * root_mean_square(p).clamp_min(0.7)
    ),
    # of eight members three at a time, the last chunk holds two
    "RGS, by vmap": Case(rgs(population_size=8, chunk_size=3), looped=rgs(population_size=8, chunk_size=1)),
    "PGPE": Case(pgpe(), exact_where_linear=False, sends=lambda parameters: 8),
    "PGPE, by vmap": Case(
        pgpe(chunk_size=3), exact_where_linear=False, sends=lambda parameters: 8, looped=pgpe(chunk_size=1)
    ),
    "PGPE, ranks": Case(
        pgpe(fitness_shaping="centered_ranks"),
        exact_where_linear=False,
        unbiased=False,
        sends=lambda parameters: 8,
    ),
    "SAM": Case(sam(), unbiased=False, unreported=1, sends=lambda parameters: parameters),
    "SAM, per tensor": Case(sam(norm="per_tensor"), unbiased=False, unreported=1, sends=lambda parameters: parameters),
}
STEP = Step(seed=3, batch=17)


def those(wanted: Callable[[Case], bool]) -> pytest.MarkDecorator:
    """Holds only these estimators to a promise."""
    chosen = {name: case for name, case in ESTIMATORS.items() if wanted(case)}
    return pytest.mark.parametrize("case", chosen.values(), ids=chosen)


@pytest.fixture(params=ESTIMATORS.values(), ids=ESTIMATORS)
def case(request) -> Case:
    return request.param


@pytest.fixture
def estimator(case) -> GradientEstimator:
    return case.make()


@pytest.fixture
def params() -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = {"matrix": (3, 2), "vector": (5,), "scalar": ()}
    return {name: torch.randn(shape, dtype=torch.double, requires_grad=True) for name, shape in shapes.items()}


def joined(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def objective(params):
    """A smooth function of all parameters, with metrics."""
    joint = joined(params)
    return (joint.sin() * joint.roll(1)).sum(), {"largest": joint.amax(), "count": torch.tensor(12.0)}


def linear(slopes: dict[str, Tensor]):
    return lambda params: (sum((params[name] * slope).sum() for name, slope in slopes.items()), {})


def gradients(estimator, params, step=STEP, function=objective) -> dict[str, Tensor]:
    estimate = estimator(function, params, step)
    return dict(zip(params, torch.autograd.grad(estimate.loss, list(params.values())), strict=True))


def samples(estimator, params, function, number: int) -> Tensor:
    """Independent estimates, ``[number, parameters]``."""
    return torch.stack([joined(gradients(estimator, params, Step(0, batch), function)) for batch in range(number)])


def assert_mean(samples: Tensor, expected: Tensor) -> None:
    standard_error = samples.std(0) / len(samples) ** 0.5
    assert ((samples.mean(0) - expected).abs() <= 5 * standard_error + 1e-12).all()


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def network_objective(net):
    """Cross-entropy with batch statistics, as a pure function of the parameters."""
    torch.manual_seed(2)
    x, y = torch.randn(8, 4), torch.arange(8) % 3
    graph, fixed = trace(net, (4,)), {**dict(net.named_parameters()), **dict(net.named_buffers())}

    def evaluate(params):
        tensors = {**fixed, **params}
        return F.cross_entropy(graph({**tensors, **graph.batch_statistics(tensors, x)}, x), y), {}

    return evaluate


@those(lambda case: case.exact_where_linear)
def test_gradient_of_a_linear_function_is_exact(estimator, params):
    # smoothing changes a linear function by a constant only
    slopes = {name: torch.randn_like(p) for name, p in params.items()}
    found = gradients(estimator, params, function=linear(slopes))
    for name, slope in slopes.items():
        torch.testing.assert_close(found[name], slope)


@those(lambda case: not case.exact_where_linear and case.unbiased and not case.looped)
def test_gradient_of_a_linear_function_is_unbiased(estimator, params):
    slopes = {name: torch.randn_like(p) for name, p in params.items() if name != "matrix"}
    expected = {**{name: torch.zeros_like(p) for name, p in params.items()}, **slopes}
    assert_mean(samples(estimator, params, linear(slopes), 200), joined(expected))


def test_points_along_the_gradient_of_a_linear_function(estimator, params):
    slopes = {name: torch.randn_like(p) for name, p in params.items()}
    mean = samples(estimator, params, linear(slopes), 100).mean(0)
    assert F.cosine_similarity(mean, joined(slopes), dim=0) > 0.9


@those(lambda case: case.unbiased and not case.looped)
def test_approaches_the_gradient_of_the_smoothed_loss_without_bias(case, estimator, params):
    # E[f'(x + e)] of sin(a) b with independent a, b: cos and sin shrink by exp(-noise^2 / 2)
    joint = joined(params).detach()
    shrink = joined({name: torch.exp(-((torch.ones_like(p) * case.noise(p)) ** 2) / 2) for name, p in params.items()})
    exact = shrink * joint.cos() * joint.roll(1) + (shrink * joint.sin()).roll(-1)
    assert_mean(samples(estimator, params, objective, 400), exact.detach())


@those(lambda case: case.looped)
def test_members_together_give_what_they_give_one_by_one(case, params):
    together, looped = case.make()(objective, params, STEP), case.looped()(objective, params, STEP)
    torch.testing.assert_close(together.loss, looped.loss)
    torch.testing.assert_close(dict(together.metrics), dict(looped.metrics))
    torch.testing.assert_close(gradients(case.make(), params), gradients(case.looped(), params))


def test_deterministic_given_the_key_whatever_the_global_generator(estimator, params):
    torch.manual_seed(1)
    first = estimator(objective, params, STEP)
    first_gradients = torch.autograd.grad(first.loss, list(params.values()))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = estimator(objective, params, STEP)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.loss, second.loss)
    assert all(torch.equal(first.metrics[name], second.metrics[name]) for name in first.metrics)
    for a, b in zip(first_gradients, torch.autograd.grad(second.loss, list(params.values())), strict=True):
        assert torch.equal(a, b)


class Processes:
    """Processes that evaluate an estimator together, played one after the other.

    The first round finds what each sends; in the second each is given the weighted sums.

    Attributes:
        sent: What each process sent, in order.
        losses: The loss of each.
        gradients: The gradients of each.
        estimators: The estimator of each.
    """

    def __init__(self, make, params, functions, steps, weights) -> None:
        self.sent: list[list[Tensor]] = [[] for _ in steps]
        for function, step, sent in zip(functions, steps, self.sent, strict=True):
            make()(function, params, replace(step, reduce=lambda value, sent=sent: sent.append(value.clone()) or value))
        totals = [
            sum(weight * value for weight, value in zip(weights, values, strict=True))
            for values in zip(*self.sent, strict=True)
        ]
        self.losses, self.gradients, self.estimators = [], [], []
        for function, step in zip(functions, steps, strict=True):
            estimator, answers = make(), iter(totals)
            loss = estimator(function, params, replace(step, reduce=lambda value, answers=answers: next(answers))).loss
            assert not list(answers)
            self.losses.append(loss.detach())
            self.gradients.append(dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True)))
            self.estimators.append(estimator)


@those(lambda case: case.has_population)
@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_that_share_the_population_find_what_one_finds(case, params, world_size):
    steps = [Step(STEP.seed, STEP.batch, rank, world_size) for rank in range(world_size)]
    processes = Processes(case.make, params, [objective] * world_size, steps, [1] * world_size)
    for name, gradient in gradients(case.make(), params).items():
        torch.testing.assert_close(sum(share[name] for share in processes.gradients) / world_size, gradient)
    torch.testing.assert_close(sum(processes.losses) / world_size, case.make()(objective, params, STEP).loss.detach())


@those(lambda case: not case.has_population)
def test_a_single_evaluation_cannot_be_shared(estimator):
    with pytest.raises(ConfigurationError, match="population_size is 1; it must be a multiple of the 2 processes"):
        Step(0, 0, 0, 2).members(estimator.population_size)


def mean_over_samples(data: Tensor):
    """A loss that is a mean over samples ``[n, parameters]``."""
    return lambda params: (torch.sin(data @ joined(params)).mean(), {})


DATA = torch.linspace(-1, 1, 8 * 12, dtype=torch.double).view(8, 12).cos()
SHARDS = (DATA[:3], DATA[3:])


def in_shards(case: Case, params) -> Processes:
    functions = [mean_over_samples(shard) for shard in SHARDS]
    return Processes(case.make, params, functions, [STEP] * 2, [len(shard) / len(DATA) for shard in SHARDS])


def test_processes_that_share_the_samples_find_what_one_finds(case, params):
    processes, whole = in_shards(case, params), mean_over_samples(DATA)
    for name, gradient in gradients(case.make(), params, function=whole).items():
        share = sum(len(shard) * found[name] for shard, found in zip(SHARDS, processes.gradients, strict=True))
        torch.testing.assert_close(share / len(DATA), gradient)
    loss = sum(len(shard) * loss for shard, loss in zip(SHARDS, processes.losses, strict=True)) / len(DATA)
    torch.testing.assert_close(loss, case.make()(whole, params, STEP).loss.detach())


def test_processes_exchange_no_more_than_they_must(case, params):
    expected = case.sends(joined(params).numel())
    for sent in in_shards(case, params).sent:
        assert [value.shape for value in sent] == ([(expected,)] if expected else [])
        assert not any(value.requires_grad for value in sent)


@those(lambda case: not case.looped)
def test_loss_and_metrics_are_means_over_what_was_evaluated(case, estimator, params):
    evaluated = []

    def recording(p):
        loss, metrics = objective(p)
        evaluated.append((loss.detach(), metrics["largest"].detach()))
        return loss, metrics

    loss, metrics = estimator(recording, params, STEP)
    means = torch.tensor(evaluated[case.unreported :], dtype=torch.double).mean(0)
    assert len(evaluated[case.unreported :]) == estimator.population_size
    assert loss.shape == ()
    torch.testing.assert_close(loss, means[0])
    torch.testing.assert_close(metrics["largest"], means[1])


def test_loss_has_a_gradient_and_metrics_have_none(estimator, params):
    loss, metrics = estimator(objective, params, STEP)
    assert loss.requires_grad
    assert metrics.keys() == {"largest", "count"}
    assert not any(metric.requires_grad for metric in metrics.values())
    assert all(metric.shape == () for metric in metrics.values())
    assert metrics["count"] == 12


def test_parameters_and_buffers_stay_untouched(estimator):
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    estimator(network_objective(net), dict(net.named_parameters()), STEP)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


@those(lambda case: case.exact_where_linear)
def test_every_parameter_gets_a_gradient_zero_where_absent(estimator, params):
    absent = torch.ones(2, 2, dtype=torch.double, requires_grad=True)
    found = gradients(estimator, {**params, "absent": absent}, function=lambda p: (p["vector"].square().sum(), {}))
    assert found["vector"].abs().sum() > 0
    for name in ("absent", "matrix", "scalar"):
        assert torch.equal(found[name], torch.zeros_like(found[name]))


def test_frozen_parameters_stay_without_a_gradient(estimator):
    net = network()
    net[0].weight.requires_grad_(False)
    estimate = estimator(network_objective(net), {n: p for n, p in net.named_parameters() if p.requires_grad}, STEP)
    estimate.loss.backward()
    assert net[0].weight.grad is None
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)


def test_backward_puts_the_estimate_into_grad_scaled_by_what_follows(estimator, params):
    expected = gradients(estimator, params)
    (estimator(objective, params, STEP).loss / 4).backward()
    for name, p in params.items():
        torch.testing.assert_close(p.grad, expected[name] / 4)
        assert p.grad.dtype == p.dtype


def test_gradients_accumulate(estimator, params):
    expected = [gradients(estimator, params, Step(0, batch)) for batch in range(2)]
    for batch in range(2):
        estimator(objective, params, Step(0, batch)).loss.backward()
    for name, p in params.items():
        torch.testing.assert_close(p.grad, expected[0][name] + expected[1][name])


def test_adds_to_the_gradient_of_another_loss_term(estimator, params):
    expected = gradients(estimator, params)
    loss = estimator(objective, params, STEP).loss + params["vector"].sum()
    torch.testing.assert_close(torch.autograd.grad(loss, params["vector"])[0], expected["vector"] + 1)


def test_autocast_around_changes_nothing_where_the_objective_ignores_it(estimator, params):
    params = {name: p.detach().float().requires_grad_() for name, p in params.items()}
    expected = gradients(estimator, params)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(estimator, params)
    assert all(torch.equal(found[name], expected[name]) for name in params)


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace:UserWarning")  # it leaves the generators alone
def test_compiled_equals_eager(case, params):
    expected = gradients(case.make(), params)
    compiled = torch.compile(case.make(), backend="aot_eager")
    for name, gradient in gradients(compiled, params).items():
        torch.testing.assert_close(gradient, expected[name])


def test_saved_and_loaded_it_goes_on_as_before(case, params):
    estimator, clone = case.make(), case.make()
    estimator.prepare(params)
    for batch in range(2):
        estimator(objective, params, Step(0, batch))
        estimator.after_step()
    clone.prepare(params)
    clone.load_state_dict(estimator.state_dict())
    assert not any(p.requires_grad for p in estimator.parameters())
    for name, gradient in gradients(estimator, params).items():
        assert torch.equal(gradients(clone, params)[name], gradient)
