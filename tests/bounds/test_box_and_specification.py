from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gls_lightning.bounds import Box, margin_specification, trace
from gls_lightning.errors import ConfigurationError


def test_box_is_clipped_to_the_images() -> None:
    box = Box.around(torch.tensor([[0.0, 0.05, 0.5, 1.0]]), 0.1)
    torch.testing.assert_close(box.lower, torch.tensor([[0.0, 0.0, 0.4, 0.9]]))
    torch.testing.assert_close(box.upper, torch.tensor([[0.1, 0.15, 0.6, 1.0]]))


def test_box_refuses_a_negative_radius() -> None:
    with pytest.raises(ConfigurationError, match=r"epsilon is -0\.1"):
        Box.around(torch.zeros(1, 1), -0.1)


def test_degenerate_box_has_radius_zero() -> None:
    x = torch.rand(100)
    assert torch.equal(Box.around(x, 0.0).radius, torch.zeros(100))
    assert torch.equal(Box.around(x, 0.0).centre, x)


def test_margins_are_true_logit_minus_the_others_in_order() -> None:
    logits = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    margins = torch.einsum("bsk,bk->bs", margin_specification(torch.tensor([1, 2]), 3), logits)
    assert margins.tolist() == [[1.0, -2.0], [24.0, 16.0]]


def test_a_box_keeps_the_centre_and_radius_that_it_was_made_from() -> None:
    centre, radius = torch.randn(4, 3), torch.rand(4, 3)
    box = Box.from_centre(centre, radius)
    assert box.middle == (centre, radius)
    lower, upper = box
    assert torch.equal(lower, centre - radius)
    assert torch.equal(upper, centre + radius)
    first, second = box.split(3)
    assert torch.equal(first.centre, centre[:3])
    assert torch.equal(second.radius, radius[3:])
    turned = box.rearranged(lambda elements: elements.flip(1))
    assert torch.equal(turned.lower, lower.flip(1))
    assert torch.equal(turned.radius, radius.flip(1))
    wider = box.widened(torch.full((4, 3), 0.5))
    assert torch.equal(wider.upper, upper + 0.5)
    assert torch.equal(wider.radius, radius + 0.5)
    assert torch.equal(wider.centre, centre)
    torch.testing.assert_close(Box(*box).middle, box.middle)


@given(lower=st.floats(-1e3, 1e3, width=32), width=st.floats(0, 1e3, width=32))
def test_centre_and_radius_together_hold_the_box_and_a_point_stays_one(lower: float, width: float) -> None:
    low = torch.tensor([[lower]])
    box = Box(low, low + width)
    centre, radius = (part.double() for part in box.middle)
    rounding = 2 * torch.finfo(torch.float32).eps * box.largest.double()
    assert (centre - radius <= box.lower + rounding).all()
    assert (centre + radius >= box.upper - rounding).all()
    if (box.lower == box.upper).all():
        assert torch.equal(box.middle[0], box.lower)
        assert (radius == 0).all()


class Halvings(TorchDispatchMode):
    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += func.overloadpacket.__name__ == "div"
        return func(*args, **(kwargs or {}))


def test_intervals_find_centre_and_radius_only_behind_what_does_not_map_them() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU()),
        *(nn.Flatten(), nn.Dropout(), nn.Linear(48, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)),
    ).eval()
    graph, tensors = trace(network, (1, 8, 8)), network.state_dict()
    with Halvings() as halvings:
        graph.intervals(tensors, Box.around(torch.rand(2, 1, 8, 8), 0.1))
    assert halvings.number == 4, "the input's box and those behind each ReLU"
