"""States of ReLUs, counted one by one."""

from math import inf, nan

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from gls_lightning.bounds import Box, trace
from gls_lightning.diagnostics import preactivation_bounds, relu_states
from gls_lightning.relaxations import IBP, DeepPoly, HBox


def box(*intervals: tuple[float, float]) -> Box:
    return Box(*torch.tensor([intervals]).unbind(2))


@pytest.mark.parametrize(
    ("interval", "state"),
    [
        ((-1.0, 1.0), "unstable"),
        ((-inf, inf), "unstable"),
        ((nan, nan), "unstable"),
        ((-2.0, -1.0), "inactive"),
        ((-1.0, 0.0), "inactive"),
        ((0.0, 0.0), "inactive"),
        ((0.0, 1.0), "active"),
        ((1.0, 2.0), "active"),
    ],
)
def test_every_relu_is_in_one_state(interval: tuple[float, float], state: str) -> None:
    found = relu_states([box(interval)])
    assert {name: value.item() for name, value in found._asdict().items()} == {
        name: float(name == state) for name in found._fields
    }


def test_every_relu_of_every_image_counts_alike_whatever_its_layer() -> None:
    small, large = box((-1.0, 1.0)), box(*[(1.0, 2.0)] * 6, (-2.0, -1.0))
    assert [value.item() for value in relu_states([small, large])] == [0.125, 0.125, 0.75]


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 2)), min_size=1))
def test_fractions_sum_to_1(corners: list[tuple[int, int]]) -> None:
    intervals = [(float(lower), float(lower + width)) for lower, width in corners]
    unstable, inactive, active = (value.item() for value in relu_states([box(*intervals)]))
    assert unstable + inactive + active == pytest.approx(1)
    assert unstable == pytest.approx(sum(lower < 0 < upper for lower, upper in intervals) / len(intervals))
    assert inactive == pytest.approx(sum(upper <= 0 for _, upper in intervals) / len(intervals))


def network(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), *layers, nn.Linear(8, 3))


def test_first_layer_is_exact() -> None:
    net, x = network(nn.ReLU()), torch.rand(5, 6)
    around = Box.around(x, 0.1)
    for relaxation in (IBP(), HBox(), DeepPoly()):
        first = preactivation_bounds(relaxation, trace(net, (6,)), net.state_dict(), around)["1"]
        corners = torch.where(net[0].weight > 0, around.lower[:, None], around.upper[:, None])
        torch.testing.assert_close(first.lower, (corners * net[0].weight).sum(2) + net[0].bias)


class Counting(DeepPoly):
    """Notes how many images it is given at once."""

    def preactivation_bounds(self, graph, tensors, box: Box) -> dict[str, Box]:
        self.sizes = [*getattr(self, "sizes", []), len(box.lower)]
        return super().preactivation_bounds(graph, tensors, box)


def bounds_of(relaxation: DeepPoly, x: Tensor) -> dict[str, Box]:
    net = network(nn.ReLU())
    return preactivation_bounds(relaxation, trace(net, (6,)), net.state_dict(), Box.around(x, 0.1))


def test_parts_fit_the_memory_budget() -> None:
    x = torch.rand(5, 6)
    whole, parts = Counting(), Counting(memory_budget=1e-9)
    for expected, found in zip(bounds_of(whole, x).values(), bounds_of(parts, x).values(), strict=True):
        torch.testing.assert_close(tuple(found), tuple(expected))
    assert whole.sizes == [5]
    assert parts.sizes == [1] * 5


def test_of_relus_alone() -> None:
    net = network(nn.Tanh())
    assert list(preactivation_bounds(IBP(), trace(net, (6,)), net.state_dict(), Box.around(torch.rand(2, 6), 0.1))) == [
        "1"
    ]
