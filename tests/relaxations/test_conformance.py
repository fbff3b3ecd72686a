"""What every relaxation promises, on networks of every kind."""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from common.networks import ResidualNetwork
from hypothesis import given, settings
from torch import Tensor, nn

from gls_lightning.bounds import INPUT, BackSubstitution, Box, Graph, margin_specification, trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import CROWNIBP, IBP, AlphaCROWN, DeepPoly, HBox, LinearRelaxation, Relaxation, memory

RELAXATIONS: dict[str, Relaxation] = {
    "IBP": IBP(),
    "HBox": HBox(),
    "CROWNIBP": CROWNIBP(),
    "CROWNIBP, zero, or IBP": CROWNIBP(lower_slope="zero", intersect_ibp=True),
    "DeepPoly": DeepPoly(),
    "DeepPoly, parallel, or IBP": DeepPoly(lower_slope="parallel", intersect_ibp=True),
    "DeepPoly, IBP-stable skipped": DeepPoly(skip_ibp_stable=True),
    "DeepPoly, IBP-stable skipped, auto": DeepPoly(skip_ibp_stable="auto"),
    "AlphaCROWN": AlphaCROWN(steps=2),
    "AlphaCROWN, sign, by IBP": AlphaCROWN(step_rule="sign", intermediate_bounds="ibp"),
}
SHAPE = (2, 6, 6)
CLASSES = 4


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: nn.Sequential(
        *(nn.Flatten(), nn.Linear(72, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    ),
    "cnn": lambda: nn.Sequential(
        *(nn.Conv2d(2, 3, 3, 1, 1), nn.ReLU(), nn.Conv2d(3, 4, 4, 2, 1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, CLASSES)),
    ),
    "residual": ResidualNetwork,
    "ends in ReLU": lambda: nn.Sequential(
        nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, CLASSES), nn.ReLU()
    ),
    "leaky, grouped": lambda: nn.Sequential(
        *(nn.Conv2d(2, 4, 3, 2, 2, groups=2), nn.LeakyReLU(0.2), nn.Conv2d(4, 4, 2, 2, 1, groups=4), nn.LeakyReLU()),
        *(nn.Flatten(), nn.Linear(36, CLASSES)),
    ),
    "batch statistics": lambda: nn.Sequential(
        *(nn.Conv2d(2, 3, 4, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(12, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, CLASSES)),
    ),
    "S-shaped": lambda: nn.Sequential(
        *(nn.Conv2d(2, 3, 4, 2), nn.Sigmoid(), nn.Flatten()),
        *(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, CLASSES)),
    ),
}


@lru_cache
def traced(name: str, dtype: torch.dtype) -> Graph:
    """The graph of a network, which does not depend on its parameters."""
    return trace(NETWORKS[name]().to(dtype), SHAPE)


class Problem:
    """A network with random parameters and statistics, inputs, a box and margins."""

    def __init__(self, name: str, seed: int, epsilon: float, dtype: torch.dtype = torch.float64) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = NETWORKS[name]()
            self.x = torch.rand(3, *SHAPE, dtype=dtype)
            self.labels = torch.randint(CLASSES, (3,))
            for tensor in network.state_dict().values():
                if tensor.ndim == 1 and tensor.is_floating_point():
                    tensor.add_(0.3 * torch.randn_like(tensor)).abs_()
        network = network.to(dtype)
        self.graph = traced(name, dtype)
        self.params = dict(network.named_parameters())
        self.buffers = dict(network.named_buffers())
        self.has_batch_statistics = name == "batch statistics"
        self.tensors = {k: v.detach() for k, v in self.all_tensors(self.params).items()}
        self.box = Box.around(self.x, epsilon)
        self.spec = margin_specification(self.labels, CLASSES, dtype)

    def all_tensors(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors = {**self.buffers, **params}
        return tensors | (self.graph.batch_statistics(tensors, self.x) if self.has_batch_statistics else {})

    def margins(self, x: Tensor, tensors: dict[str, Tensor] | None = None) -> Tensor:
        return torch.einsum("bsk,bk->bs", self.spec, self.graph(self.tensors if tensors is None else tensors, x))

    def bounds(self, relaxation: Relaxation, tensors: dict[str, Tensor] | None = None) -> Tensor:
        return relaxation(self.graph, self.tensors if tensors is None else tensors, self.box, self.spec)

    def loss(self, relaxation: Relaxation, params: dict[str, Tensor]) -> Tensor:
        return torch.exp(-self.bounds(relaxation, self.all_tensors(params)) / 4).sum()


differentiable = {name: relaxation for name, relaxation in RELAXATIONS.items() if relaxation.differentiable}
vectorisable = {name: relaxation for name, relaxation in RELAXATIONS.items() if relaxation.vectorisable}
everything_vectorisable = pytest.mark.parametrize("relaxation", vectorisable.values(), ids=vectorisable)
everything_differentiable = pytest.mark.parametrize("relaxation", differentiable.values(), ids=differentiable)
everything = pytest.mark.parametrize("relaxation", RELAXATIONS.values(), ids=RELAXATIONS)
every_network = pytest.mark.parametrize("name", NETWORKS)


@everything
@every_network
@given(seed=st.integers(0, 10**6), epsilon=st.sampled_from([0.003, 0.03, 0.3, 1.0]))
@settings(max_examples=3, deadline=None)
def test_sound_on_samples_and_corners(relaxation: Relaxation, name: str, seed: int, epsilon: float) -> None:
    problem = Problem(name, seed, epsilon)
    lower = problem.bounds(relaxation)
    generator = torch.Generator().manual_seed(seed)
    pre = relaxation.preactivation_bounds(problem.graph, problem.tensors, problem.box)
    place = torch.rand(20, *problem.x.shape, generator=generator, dtype=torch.float64)
    place[::2] = place[::2].round()
    x = torch.lerp(*problem.box, place).flatten(0, 1)
    values = problem.graph.propagate(x, lambda node, *v: node.operation.evaluate(problem.tensors, *v))
    by_sample = {name: value.unflatten(0, (20, -1)) for name, value in values.items()}
    assert (torch.einsum("bsk,abk->abs", problem.spec, by_sample[problem.graph.output]) >= lower - 1e-9).all()
    for node in problem.graph.activations:
        v, bounds = by_sample[node.inputs[0]], pre[node.name]
        assert (v >= bounds.lower - 1e-9).all()
        assert (v <= bounds.upper + 1e-9).all()


@everything
@every_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_exact_with_exact_gradients_at_epsilon_zero(relaxation: Relaxation, name: str, dtype: torch.dtype) -> None:
    problem = Problem(name, 1, 0.0, dtype)
    tolerance = 1e-4 if dtype is torch.float32 else 1e-10
    torch.testing.assert_close(problem.bounds(relaxation), problem.margins(problem.x), rtol=tolerance, atol=tolerance)
    if not relaxation.differentiable:
        return
    gradients = torch.autograd.grad(problem.loss(relaxation, problem.params), list(problem.params.values()))
    exact = torch.exp(-problem.margins(problem.x, problem.all_tensors(problem.params)) / 4)
    expected = torch.autograd.grad(exact.sum(), list(problem.params.values()))
    torch.testing.assert_close(gradients, expected, rtol=100 * tolerance, atol=100 * tolerance)


@everything
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_dead_neurons_and_ties_stay_finite(relaxation: Relaxation, value: float) -> None:
    """All weights equal and biases 0 or opposite: every ReLU input is a tie, dead, or exactly 0."""
    problem = Problem("cnn", 0, 0.1, torch.float32)
    params = {k: torch.full_like(v, value if v.ndim > 1 else 0.0).requires_grad_() for k, v in problem.params.items()}
    loss = problem.loss(relaxation, params)
    assert loss.isfinite()
    if relaxation.differentiable:
        assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, list(params.values())))


@everything
@every_network
def test_a_sample_does_not_depend_on_the_others(relaxation: Relaxation, name: str) -> None:
    problem = Problem(name, 2, 0.1)
    together = problem.bounds(relaxation)
    alone = relaxation(problem.graph, problem.tensors, Box(*(s[1:2] for s in problem.box)), problem.spec[1:2])
    torch.testing.assert_close(alone, together[1:2], rtol=1e-12, atol=1e-12)


@everything
@every_network
def test_single_precision_agrees_with_double(relaxation: Relaxation, name: str) -> None:
    problem = Problem(name, 3, 0.1)
    single = relaxation(
        problem.graph,
        {k: v.float() if v.is_floating_point() else v for k, v in problem.tensors.items()},
        Box(*(side.float() for side in problem.box)),
        problem.spec.float(),
    )
    torch.testing.assert_close(single.double(), problem.bounds(relaxation), rtol=1e-4, atol=1e-4)


@everything_differentiable
@every_network
def test_gradient_equals_finite_differences(relaxation: Relaxation, name: str) -> None:
    problem = Problem(name, 4, 0.1)
    gradients = torch.autograd.grad(problem.loss(relaxation, problem.params), list(problem.params.values()))
    torch.manual_seed(0)
    direction = {k: torch.randn_like(v) for k, v in problem.params.items()}
    step = 1e-6

    def at(t: float) -> Tensor:
        return problem.loss(relaxation, {k: v.detach() + t * direction[k] for k, v in problem.params.items()})

    numerical = (at(step) - at(-step)) / (2 * step)
    analytical = sum((g * d).sum() for g, d in zip(gradients, direction.values(), strict=True))
    torch.testing.assert_close(analytical, numerical, rtol=1e-5, atol=1e-6)


@everything_vectorisable
@every_network
def test_vmap_over_parameters_equals_the_loop(relaxation: Relaxation, name: str) -> None:
    problem = Problem(name, 5, 0.1)
    torch.manual_seed(0)
    stack = {k: v + 0.01 * torch.randn(3, *v.shape, dtype=v.dtype) for k, v in problem.params.items()}
    stack = {k: v.detach() for k, v in stack.items()}

    def loss(params: dict[str, Tensor]) -> Tensor:
        return problem.loss(relaxation, params)

    losses = torch.func.vmap(loss)(stack)
    gradients = torch.func.vmap(torch.func.grad(loss))(stack)
    for i in range(3):
        member = {k: v[i].clone().requires_grad_() for k, v in stack.items()}
        value = loss(member)
        torch.testing.assert_close(losses[i], value)
        if relaxation.differentiable:
            expected = torch.autograd.grad(value, list(member.values()))
            torch.testing.assert_close([gradients[k][i] for k in member], list(expected))


@everything
@every_network
def test_parts_of_a_batch_change_nothing(relaxation: Relaxation, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(relaxation, "memory_budget"):
        pytest.skip("takes a batch as a whole")
    problem = Problem(name, 6, 0.1)
    loss = problem.loss(relaxation, problem.params)
    monkeypatch.setattr(relaxation, "memory_budget", 1e-6)
    in_parts = problem.loss(relaxation, problem.params)
    torch.testing.assert_close(in_parts, loss)
    if relaxation.differentiable:
        expected = torch.autograd.grad(loss, list(problem.params.values()))
        torch.testing.assert_close(torch.autograd.grad(in_parts, list(problem.params.values())), expected)


# AlphaCROWN bounds the elements of a node in one go.
linear = {name: r for name, r in differentiable.items() if isinstance(r, LinearRelaxation)}


@pytest.mark.parametrize("all_samples", [True, False], ids=["a batch", "sample by sample"])
@pytest.mark.parametrize("relaxation", linear.values(), ids=linear)
@every_network
def test_chunks_of_a_node_change_nothing(
    relaxation: LinearRelaxation, name: str, all_samples: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, chunks = Problem(name, 12, 0.1), []
    loss = problem.loss(relaxation, problem.params)
    monkeypatch.setattr(memory, "_CACHED_CHUNK_BYTES", 512)
    if all_samples:
        monkeypatch.setattr(memory, "samples_in_cache", lambda *_: len(problem.x))
    lower_deviations = BackSubstitution._lower_deviations

    def counted(self: BackSubstitution, *arguments: Any) -> list[Tensor]:
        parts = lower_deviations(self, *arguments)
        chunks.append(len(parts))
        return parts

    monkeypatch.setattr(BackSubstitution, "_lower_deviations", counted)
    chunked = problem.loss(relaxation, problem.params)
    assert max(chunks) > 1
    torch.testing.assert_close(chunked, loss)
    expected = torch.autograd.grad(loss, list(problem.params.values()))
    torch.testing.assert_close(torch.autograd.grad(chunked, list(problem.params.values())), expected)


@everything
@every_network
def test_intervals_that_are_given_change_nothing(
    relaxation: Relaxation, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem(name, 13, 0.1)
    expected = problem.bounds(relaxation)
    for last_layer, budget in ((True, 4.0), (False, 4.0), (False, 1e-6)):
        monkeypatch.setattr(relaxation, "memory_budget", budget)
        intervals = problem.graph.intervals(problem.tensors, problem.box, last_layer=last_layer)
        given_them = relaxation.given_intervals(problem.graph, problem.tensors, intervals, problem.spec)
        torch.testing.assert_close(given_them, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parent", [IBP, CROWNIBP])
def test_a_class_that_changes_the_bounds_changes_what_it_inherits_too(parent: type[Relaxation]) -> None:
    class Lower(parent):  # type: ignore[valid-type, misc]
        def __call__(self, *problem: Any) -> Tensor:
            return super().__call__(*problem) - 1

    problem = Problem("cnn", 16, 0.1)
    graph, tensors, expected = problem.graph, problem.tensors, problem.bounds(parent()) - 1
    margins = Lower().margins(graph, tensors, problem.box, problem.labels)
    intervals = graph.intervals(tensors, problem.box)
    for bounds in (problem.bounds(Lower()), margins, Lower().given_intervals(graph, tensors, intervals, problem.spec)):
        torch.testing.assert_close(bounds, expected)


@pytest.mark.parametrize("rigorous", [False, True])
@everything
@every_network
def test_margins_are_the_functions_of_their_specification(relaxation: Relaxation, name: str, rigorous: bool) -> None:
    problem = Problem(name, 15, 0.1)
    graph = problem.graph.rigorously() if rigorous else problem.graph
    tensors = problem.all_tensors(problem.params)
    expected = relaxation(graph, tensors, problem.box, problem.spec)
    margins = relaxation.margins(graph, tensors, problem.box, problem.labels)
    torch.testing.assert_close(margins, expected, rtol=1e-12, atol=1e-12)
    if relaxation.differentiable:
        params = list(problem.params.values())
        gradients = (torch.autograd.grad(b.exp().sum(), params, retain_graph=True) for b in (margins, expected))
        torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rigorous", [False, True])
@every_network
def test_both_sides_of_functions_are_the_bounds_of_them_and_their_negatives(name: str, rigorous: bool) -> None:
    problem = Problem(name, 14, 0.1)
    graph = problem.graph.rigorously() if rigorous else problem.graph
    both = torch.cat([problem.spec, -problem.spec], 1)
    expected = IBP()(graph, problem.tensors, problem.box, both).chunk(2, 1)
    lower, upper = IBP().margin_box(graph, problem.tensors, {INPUT: problem.box}, problem.labels)
    torch.testing.assert_close((lower, -upper), expected, rtol=1e-13, atol=1e-13)
    relaxed = BackSubstitution(graph, problem.tensors, {INPUT: problem.box}, {graph.output: 2})
    for node in graph.activations:
        relaxed.relax(node, relaxed.bounds(node.inputs[0]))
    expected = relaxed.specification_bounds(both).chunk(2, 1)
    for lower, upper in (relaxed.specification_box(problem.spec), relaxed.margin_box(problem.labels)):
        torch.testing.assert_close((lower, -upper), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(relaxed.margin_bounds(problem.labels), expected[0], rtol=1e-12, atol=1e-12)


COMPILED = [
    "IBP",
    "HBox",
    "DeepPoly",
    "DeepPoly, IBP-stable skipped, auto",
    "AlphaCROWN, sign, by IBP",
]  # which hold CROWN-IBP too; the others only take longer


@pytest.mark.parametrize("relaxation", [RELAXATIONS[name] for name in COMPILED], ids=COMPILED)
def test_compiles_into_one_graph(relaxation: Relaxation) -> None:
    problem = Problem("cnn", 7, 0.1)
    compiled = torch.compile(problem.bounds, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(relaxation), problem.bounds(relaxation))


@every_network
def test_interval_bounds_grow_with_the_radius(name: str) -> None:
    margins = [Problem(name, 8, epsilon).bounds(IBP()) for epsilon in (0.0, 0.01, 0.1, 0.3, 1.0)]
    for tighter, looser in pairwise(margins):
        assert (looser <= tighter + 1e-12).all()


seeds_and_radii = given(seed=st.integers(0, 10**6), epsilon=st.sampled_from([0.0, 0.003, 0.03, 0.3, 1.0]))


@every_network
@seeds_and_radii
@settings(max_examples=3, deadline=None)
def test_alpha_crown_is_never_looser_than_where_it_starts(name: str, seed: int, epsilon: float) -> None:
    problem = Problem(name, seed, epsilon)
    start = problem.bounds(DeepPoly())
    optimised = problem.bounds(AlphaCROWN(steps=3))
    assert (optimised >= start - 1e-9).all()
    if name == "S-shaped":  # which leaves nothing to optimise
        torch.testing.assert_close(optimised, start)
    by_intervals = problem.bounds(AlphaCROWN(steps=3, intermediate_bounds="ibp"))
    assert (by_intervals >= problem.bounds(CROWNIBP()) - 1e-9).all()


@every_network
@seeds_and_radii
@settings(max_examples=3, deadline=None)
def test_what_is_intersected_with_ibp_is_no_looser(name: str, seed: int, epsilon: float) -> None:
    problem = Problem(name, seed, epsilon)
    interval = problem.bounds(IBP())
    best = torch.maximum(interval, problem.bounds(CROWNIBP()))
    torch.testing.assert_close(problem.bounds(CROWNIBP(intersect_ibp=True)), best)
    intersected = DeepPoly(intersect_ibp=True)
    assert (problem.bounds(intersected) >= interval - 1e-9).all()
    by_interval = IBP().preactivation_bounds(problem.graph, problem.tensors, problem.box)
    for node, box in intersected.preactivation_bounds(problem.graph, problem.tensors, problem.box).items():
        assert (box.lower >= by_interval[node].lower).all()
        assert (box.upper <= by_interval[node].upper).all()


def test_one_sign_step_finds_the_better_slope_of_a_single_neuron() -> None:
    """``2 relu(x)`` and ``-2 relu(x)`` for ``x`` in [-1, 2]: slope 0 is best below the one; the other has no choice."""
    network = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)).double()
    for tensor, value in zip(network.parameters(), ([[1.0]], [0.0], [[2.0], [-2.0]], [0.0, 0.0]), strict=True):
        tensor.data.copy_(torch.tensor(value))
    box, rows = Box(torch.tensor([[-1.0]]).double(), torch.tensor([[2.0]]).double()), torch.eye(2).double()[None]
    arguments = trace(network, (1,)), network.state_dict(), box, rows
    torch.testing.assert_close(DeepPoly()(*arguments), torch.tensor([[-2.0, -4.0]]).double())
    for relaxation in (AlphaCROWN(), AlphaCROWN(step_rule="sign")):
        torch.testing.assert_close(relaxation(*arguments), torch.tensor([[0.0, -4.0]]).double())


@everything
def test_bounds_without_useful_gradients_have_none(relaxation: Relaxation) -> None:
    problem = Problem("cnn", 11, 0.1)
    assert problem.loss(relaxation, problem.params).requires_grad == relaxation.differentiable


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        (DeepPoly, "lower_slope", "two"),
        (DeepPoly, "skip_ibp_stable", "sometimes"),
        (AlphaCROWN, "step_rule", "sgd"),
        (AlphaCROWN, "steps", 0),
        (AlphaCROWN, "learning_rate", 0.0),
        (AlphaCROWN, "decay", 1.5),
        (AlphaCROWN, "intermediate_bounds", "lp"),
    ],
)
def test_options_out_of_range(kind: Callable[..., Relaxation], option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{option} is {value!r}"):
        kind(**{option: value})


def test_a_memory_budget_is_positive() -> None:
    with pytest.raises(ConfigurationError, match="memory_budget is 0; it must be positive, in GiB"):
        DeepPoly(memory_budget=0)


class Doubled(nn.Module):
    """Sees its input twice, once through a layer."""

    def __init__(self, shortcut: nn.Module) -> None:
        super().__init__()
        self.fc1, self.fc2, self.shortcut = nn.Linear(4, 4), nn.Linear(4, CLASSES), shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.fc1(x) + self.shortcut(x)))


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


@everything
def test_what_does_nothing_changes_nothing(relaxation: Relaxation) -> None:
    torch.manual_seed(0)
    plain = Doubled(Nothing())
    same = nn.Sequential(Doubled(nn.Identity()), nn.Identity(), nn.Flatten())
    same[0].load_state_dict(plain.state_dict())
    box, spec = Box.around(torch.rand(3, 4), 0.2), margin_specification(torch.tensor([0, 1, 2]), CLASSES)
    expected = relaxation(trace(plain, (4,)), plain.state_dict(), box, spec)
    torch.testing.assert_close(relaxation(trace(same, (4,)), same.state_dict(), box, spec), expected)


@everything
def test_bounds_that_overflow_prove_nothing(relaxation: Relaxation) -> None:
    problem = Problem("mlp", 9, 0.1, torch.float32)
    tensors = {name: tensor * 1e38 for name, tensor in problem.tensors.items()}
    assert not (problem.bounds(relaxation, tensors) > 0).any()


def test_parts_beyond_the_budget_are_computed_again_instead_of_kept() -> None:
    problem, kept = Problem("cnn", 10, 0.1), {}

    def count(tensor: Tensor) -> Tensor:
        kept[budget] += tensor.numel()
        return tensor

    for budget in (1e-6, 1.0):
        kept[budget] = 0
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            problem.loss(DeepPoly(memory_budget=budget), problem.params)
    assert kept[1e-6] < kept[1.0] / 10
