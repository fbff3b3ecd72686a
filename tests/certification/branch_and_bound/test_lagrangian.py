import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from gls_lightning.bounds import Box, trace
from gls_lightning.certification.branch_and_bound._branching import choose_relu, triangle_costs
from gls_lightning.certification.branch_and_bound._lagrangian import Lagrangian
from gls_lightning.certification.branch_and_bound._leaf import minimise_leaf
from gls_lightning.certification.branch_and_bound._optimisation import optimise
from gls_lightning.certification.branch_and_bound._subdomains import Subdomains
from gls_lightning.certification.branch_and_bound.falsification import descend, minimum_around
from gls_lightning.relaxations import DeepPoly


class Convolutional(nn.Module):
    """A convolution, and a branch around the second ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, stride=2, padding=1)
        self.second, self.last = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x).relu().flatten(1)
        return self.last(hidden + self.second(hidden).relu())

    def relu_inputs(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x).flatten(1)
        return torch.cat([first, self.second(first.relu())], 1)


def subdomains(net: Convolutional, generator: torch.Generator, splits: int, samples: int = 5) -> Subdomains:
    """Random boxes of a random network, each with some of the unstable ReLUs split."""
    x = torch.rand(samples, 1, 4, 4, generator=generator).double()
    box = Box.around(x, 0.3)
    graph, tensors = trace(net, (1, 4, 4)), dict(net.state_dict())
    bounds = DeepPoly().preactivation_bounds(graph, tensors, box)
    lower, upper = (torch.cat([bounds[n][side].flatten(1) for n in graph.relus], 1) for side in (0, 1))
    values = net.relu_inputs(x)  # splits that hold at the centre, so that no subdomain is empty
    order = torch.where((lower < 0) & (upper > 0), torch.rand(lower.shape, generator=generator), -1)
    chosen = (order >= order.sort(1, descending=True).values[:, [splits - 1]]) & (order >= 0) if splits else order > 1
    signs = (values.sign() * chosen).to(torch.int8)
    rows = torch.randn(samples, 2, 3, generator=generator).double()
    offsets = torch.randn(samples, 2, generator=generator).double()
    return Subdomains(graph, tensors, box, Box(lower, upper), signs, rows, offsets)


def network(seed: int) -> Convolutional:
    torch.manual_seed(seed)
    return Convolutional().double()


def least_of_samples(net: Convolutional, parts: Subdomains, generator: torch.Generator) -> torch.Tensor:
    """The least value of each group's largest function among random points of the subdomains."""
    values = []
    for i in range(len(parts)):
        lower, upper = (side[i] for side in parts.box)
        shares = torch.rand(4000, *lower.shape, generator=generator).double()
        shares = torch.where(torch.rand(shares.shape, generator=generator) < 0.5, shares, shares.round())
        points = lower + (upper - lower) * torch.cat([torch.full_like(shares[:1], 0.5), shares])
        inside = (net.relu_inputs(points) * parts.signs[i] >= 0).all(1)
        values.append((net(points[inside]) @ parts.rows[i].mT + parts.offsets[i]).amax(1).amin())
    return torch.stack(values)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 4))
def test_bounds_hold_for_any_slopes_and_multipliers(seed: int, splits: int) -> None:
    net, generator = network(seed), torch.Generator().manual_seed(seed)
    parts = subdomains(net, generator, splits)
    shares = torch.rand(parts.signs.shape, generator=generator).double()
    multipliers = torch.rand(parts.signs.shape, generator=generator).double() * 2
    weights = torch.rand(5, 2, generator=generator).double().softmax(1)
    bound = Lagrangian(parts)(shares, multipliers, weights)
    assert (bound <= least_of_samples(net, parts, generator) + 1e-9).all()


@pytest.mark.parametrize("splits", [0, 2])
def test_optimisation_makes_bounds_tighter_and_keeps_them_sound(splits: int) -> None:
    net, generator = network(splits), torch.Generator().manual_seed(splits)
    parts = subdomains(net, generator, splits, samples=20)
    start = (parts.relu_box.upper > -parts.relu_box.lower).float(), torch.zeros(parts.signs.shape)
    once, often = (optimise(parts, *start, steps=steps, learning_rate=0.1).lower for steps in (1, 60))
    least = least_of_samples(net, parts, generator)
    assert (often <= least + 1e-9).all()
    assert (often > once - 1e-6).all()
    assert (often - once).mean() > 0.2 * (least - once).mean()


def test_without_splits_and_multipliers_the_bound_is_that_of_deep_poly() -> None:
    parts = subdomains(network(0), torch.Generator().manual_seed(0), 0)
    shares = (parts.relu_box.upper > -parts.relu_box.lower).double()
    weights = torch.tensor([[1.0, 0.0]]).double().expand(5, -1)
    bound = Lagrangian(parts)(shares, torch.ones_like(shares), weights)
    deep_poly = DeepPoly()(parts.graph, parts.tensors, parts.box, parts.rows)[:, 0] + parts.offsets[:, 0]
    torch.testing.assert_close(bound, deep_poly)


def test_points_are_where_the_linear_bound_is_smallest() -> None:
    """With one ReLU of a single input, the line below decides."""
    net = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 2)).double()
    weights = {"0.weight": [[1.0, -2.0]], "0.bias": [0.0], "2.weight": [[-1.0], [0.0]], "2.bias": [0.0, 0.0]}
    net.load_state_dict({name: torch.tensor(value).double() for name, value in weights.items()})
    graph = trace(net, (2,))
    box = Box(torch.tensor([[0.0, 0.0]]).double(), torch.tensor([[1.0, 1.0]]).double())
    relu_box = Box(torch.tensor([[-2.0]]).double(), torch.tensor([[1.0]]).double())
    row = torch.tensor([[[1.0, 0.0]]]).double()
    whole = Subdomains(
        graph, dict(net.state_dict()), box, relu_box, torch.zeros(1, 1).to(torch.int8), row, row[0, :, :1] * 0
    )
    bounded = optimise(whole, torch.zeros(1, 1), torch.zeros(1, 1), steps=1, learning_rate=0.1)
    # -relu(v) >= -(v + 2) / 3, smallest at v = 1
    assert bounded.lower.item() == pytest.approx(-1)
    assert bounded.points.tolist() == [[1.0, 0.0]]
    assert bounded.coefficients.item() == pytest.approx(-1)
    assert triangle_costs(whole, bounded).item() == pytest.approx(2 / 3)


def test_the_relu_with_the_best_parts_is_split() -> None:
    net, generator = network(3), torch.Generator().manual_seed(3)
    parts = subdomains(net, generator, 1, samples=20)
    parts = parts.select(parts.unstable.any(1).nonzero().flatten())
    start = (parts.relu_box.upper > -parts.relu_box.lower).float(), torch.zeros(parts.signs.shape)
    bounded = optimise(parts, *start, steps=20, learning_rate=0.1)
    chosen = choose_relu(parts, bounded, candidates=16)
    for i, relu in enumerate(chosen.tolist()):
        one = parts.select(torch.tensor([i]))
        found = bounded.select(torch.tensor([i]))
        gains = {}
        for other in one.unstable[0].nonzero().flatten().tolist():
            halves = (one.split_at(torch.tensor([other]), torch.tensor([s], dtype=torch.int8)) for s in (1, -1))
            bounds = (Lagrangian(h)(found.shares.double(), found.multipliers.double(), found.weights) for h in halves)
            gains[other] = sum(min(0.0, bound.item()) for bound in bounds)
        assert gains[relu] == pytest.approx(max(gains.values()), abs=1e-4)


def test_an_empty_subdomain_is_proven() -> None:
    """The ReLU inputs x and x - 1 cannot be dead and active."""
    net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    net.load_state_dict({**net.state_dict(), "0.weight": torch.ones(2, 1), "0.bias": torch.tensor([-0.2, -0.6])})
    box = Box(torch.zeros(1, 1).double(), torch.ones(1, 1).double())
    relu_box = Box(torch.tensor([[-0.2, -0.6]]).double(), torch.tensor([[0.8, 0.4]]).double())
    row = torch.tensor([[[1.0, 0.0]]]).double()

    def least(*signs: int) -> float:
        sign = torch.tensor([signs], dtype=torch.int8)
        tensors = dict(net.state_dict())
        leaf = Subdomains(trace(net, (1,)), tensors, box, relu_box, sign, row, row[0, :, :1] * 0)
        return minimise_leaf(leaf).lower(leaf)

    assert least(-1, 1) == torch.inf
    points = torch.linspace(0, 1, 1001).double()[:, None]
    values = net(points)[:, 0]
    for signs, inside in (((-1, -1), points < 0.2), ((1, -1), (points > 0.2) & (points < 0.6)), ((1, 1), points > 0.6)):
        assert least(*signs) == pytest.approx(values[inside[:, 0]].amin().item(), abs=1e-2)


@settings(max_examples=20, deadline=None)
@example(0)
@given(st.integers(0, 2**32))
def test_descent_stays_in_the_box_and_does_not_rise(seed: int) -> None:
    net, generator = network(seed), torch.Generator().manual_seed(seed)
    parts = subdomains(net, generator, 0)
    starts = (
        parts.box.lower + (parts.box.upper - parts.box.lower) * torch.rand(5, 1, 4, 4, generator=generator).double()
    )
    points = descend(parts, starts)
    assert ((parts.box.lower <= points) & (points <= parts.box.upper)).all()
    assert (parts.largest(points) <= parts.largest(starts) + 1e-5).all()
    if seed == 0:  # elsewhere every ReLU may be dead
        assert (parts.largest(points) < parts.largest(starts) - 1e-3).sum() == 2


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_no_point_with_the_same_active_relus_lies_below_the_minimum_around_it(seed: int) -> None:
    net, generator = network(seed), torch.Generator().manual_seed(seed)
    (part,) = (subdomains(net, generator, 0, samples=1),)
    point = minimum_around(part, part.box.centre, time_limit=10)
    assert point is not None
    assert ((part.box.lower <= point) & (point <= part.box.upper)).all()
    pattern = net.relu_inputs(part.box.centre) > 0
    near = part.box.centre + 0.6 * torch.rand(4000, 1, 1, 1, generator=generator).double() * (
        torch.rand(4000, 1, 4, 4, generator=generator).double() - 0.5
    )
    points = near.clamp(*part.box)
    same = points[(((net.relu_inputs(points) > 0) == pattern).all(1))]
    values = (net(same) @ part.rows[0].mT + part.offsets[0]).amax(1)
    assert len(values) > 10
    assert (values >= part.largest(point).item() - 1e-6).all()
