"""Bounds that account for their rounding errors hold over the rational numbers, whatever the size of the weights."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gls_lightning.bounds import Box, Graph, NotRationalError, Rationals, trace
from gls_lightning.relaxations import CROWNIBP, IBP, AlphaCROWN, DeepPoly, HBox, Relaxation

RELAXATIONS: dict[str, Relaxation] = {
    "IBP": IBP(),
    "HBox": HBox(),
    "CROWNIBP": CROWNIBP(),
    "CROWNIBP, parallel": CROWNIBP(lower_slope="parallel"),
    "DeepPoly": DeepPoly(),
    "DeepPoly, IBP-stable skipped, auto": DeepPoly(skip_ibp_stable="auto"),
    "DeepPoly, IBP-stable skipped, or IBP": DeepPoly(skip_ibp_stable=True, intersect_ibp=True),
    "AlphaCROWN": AlphaCROWN(steps=2),
}
SHAPE = (2, 5, 5)


class Residual(nn.Module):
    """Normalisation, a padded convolution, a residual connection, LeakyReLU, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((2, 1, 1), 0.4))
        self.first, self.second = nn.Conv2d(2, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 1, 1, groups=3)
        self.last = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first((x - self.mean) / 0.3))
        x = nn.functional.leaky_relu(self.second(x) + x, 0.1)
        return self.last(nn.functional.avg_pool2d(x, 2, 1).flatten(1))


def make(kind: str, generator: torch.Generator) -> tuple[Graph, dict[str, Tensor]]:
    """A network whose layers have weights of any size up to 1e18, and half of whose channels nearly cancel."""
    network = {
        "residual": Residual,
        "mlp": lambda: nn.Sequential(
            *(nn.Flatten(), nn.Linear(50, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
        ),
    }[kind]()
    tensors = {}
    for name, value in network.state_dict().items():
        size = 10.0 ** int(torch.randint(-6, 19, (), generator=generator))
        random = (torch.randn(value.shape, generator=generator) * size).float()
        if random.ndim > 1 and torch.rand((), generator=generator) < 0.5:
            random[1::2] = -random[: random[1::2].shape[0]]
        tensors[name] = value.double() if name == "mean" else random.double()
    return trace(network, SHAPE), tensors


def exact_values(graph: Graph, tensors: dict[str, Tensor], point: Tensor, rows: Tensor) -> list[Fraction]:
    outputs = graph.exactly(tensors, Rationals.of(point)).fractions()
    return [sum((Fraction(c) * y for c, y in zip(row, outputs, strict=True)), Fraction(0)) for row in rows.tolist()]


@pytest.mark.parametrize("name", RELAXATIONS)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    radius=st.sampled_from([0.0, 1e-9, 1e-3, 0.3]),
    kind=st.sampled_from(["mlp", "residual"]),
)
def test_no_exact_value_lies_below_a_bound(name: str, seed: int, radius: float, kind: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    graph, tensors = make(kind, generator)
    box = Box.around(torch.rand(1, *SHAPE, generator=generator).double(), radius)
    rows = torch.randint(-1, 2, (1, 4, 3), generator=generator).double()
    with torch.no_grad():
        lower = RELAXATIONS[name](graph.rigorously(), tensors, box, rows)[0].tolist()
    shares = torch.rand(6, *SHAPE, generator=generator).double()
    shares[::2] = shares[::2].round()
    for point in torch.where(shares == 1, box.upper, torch.lerp(*box, shares)).clamp(*box):
        for bound, value in zip(lower, exact_values(graph, tensors, point, rows[0]), strict=True):
            assert not bound > value


def test_plain_bounds_do_not_hold_where_weights_are_huge() -> None:
    """So the test above would notice."""
    wrong = 0
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        graph, tensors = make("mlp", generator)
        box = Box.around(torch.rand(1, *SHAPE, generator=generator).double(), 0)
        rows = torch.eye(3).double()[None]
        lower = DeepPoly()(graph, tensors, box, rows)[0].tolist()
        wrong += any(b > v for b, v in zip(lower, exact_values(graph, tensors, box.lower[0], rows[0]), strict=True))
    assert wrong > 10


@pytest.mark.parametrize("kind", ["mlp", "residual"])
def test_rigorous_bounds_are_hardly_looser_on_ordinary_weights(kind: str) -> None:
    torch.manual_seed(0)
    network = (
        Residual() if kind == "residual" else nn.Sequential(nn.Flatten(), nn.Linear(50, 9), nn.ReLU(), nn.Linear(9, 3))
    ).double()
    graph, tensors = trace(network, SHAPE), dict(network.state_dict())
    box, rows = Box.around(torch.rand(4, *SHAPE).double(), 0.1), torch.eye(3).double().expand(4, 3, 3)
    for relaxation in RELAXATIONS.values():
        with torch.no_grad():
            plain, rigorous = (relaxation(g, tensors, box, rows) for g in (graph, graph.rigorously()))
        assert (rigorous < plain).all()
        assert (plain - rigorous).max() < 1e-10


def test_exact_outputs_are_those_of_integers() -> None:
    """Weights and inputs are small integers, with which float64 does not round."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), groups=2), nn.LeakyReLU(0.25), nn.Conv2d(6, 2, 2), nn.ReLU()),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 3), nn.Dropout(0.0), nn.Unflatten(1, (3, 1)), nn.Flatten()),
    ).double()
    state = {
        name: torch.randint(-3, 4, value.shape, generator=generator).double()
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    graph = trace(network, (4, 8, 8))
    assert graph.num_outputs == 3
    for point in torch.randint(-4, 5, (5, 4, 8, 8), generator=generator).double():
        assert (
            list(map(float, graph.exactly(state, Rationals.of(point)).fractions())) == network(point[None])[0].tolist()
        )


def test_exact_outputs_need_rational_operations() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Tanh()).double()
    with pytest.raises(NotRationalError):
        trace(network, (2,)).exactly(dict(network.state_dict()), Rationals.of(torch.zeros(2)))
    network = nn.Sequential(nn.Linear(2, 2)).double()
    with pytest.raises(NotRationalError):
        trace(network, (2,)).exactly(dict(network.state_dict()), Rationals.of(torch.tensor([torch.inf, 0])))


@pytest.mark.parametrize("name", RELAXATIONS)
def test_what_underflow_loses_counts_as_often_as_later_weights_say(name: str) -> None:
    """The value 1e-323 x of float64's smallest numbers is rounded, and then multiplied by 1e200."""
    network = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    values = [[[1e-323]], [0.0], [[1e200], [0.0]], [0.0, 4e-124], [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]]
    tensors = {n: torch.tensor(v, dtype=torch.float64) for n, v in zip(network.state_dict(), values, strict=True)}
    graph = trace(network, (1,))
    smallest = torch.full((1, 1), 5e-324, dtype=torch.float64)
    for box in (Box.around(torch.tensor([[0.3]]).double(), 0.01), Box(0 * smallest, smallest)):
        rows = torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]]).double()
        with torch.no_grad():
            lower = RELAXATIONS[name](graph.rigorously(), tensors, box, rows)[0].tolist()
        for point in (box.lower[0], box.upper[0]):
            for bound, value in zip(lower, exact_values(graph, tensors, point, rows[0]), strict=True):
                assert not bound > value


@pytest.mark.parametrize("name", RELAXATIONS)
def test_a_network_of_elementwise_operations(name: str) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - 0.1) * 1e3

    graph = trace(Scaled(), (2,))
    box, rows = Box.around(torch.tensor([[0.5, 0.4]]).double(), 0.1), torch.tensor([[[1.0, -1.0]]]).double()
    with torch.no_grad():
        lower = RELAXATIONS[name](graph.rigorously(), {"unused": rows}, box, rows).item()
    assert lower == pytest.approx(-100)


def test_depth_without_activations_gives_little_away() -> None:
    torch.manual_seed(0)

    class PreActivation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(20, 20) for _ in range(32))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = x + 0.1 * layer(torch.relu(x))
            return x

    network = PreActivation().double()
    graph, tensors = trace(network, (20,)), dict(network.state_dict())
    box, rows = Box.around(torch.rand(2, 20).double(), 1e-6), torch.eye(20).double()[:3].expand(2, 3, 20)
    for relaxation in (IBP(), HBox(), DeepPoly()):
        with torch.no_grad():
            plain, rigorous = (relaxation(g, tensors, box, rows) for g in (graph, graph.rigorously()))
        assert (plain - rigorous).max() < 1e-6
