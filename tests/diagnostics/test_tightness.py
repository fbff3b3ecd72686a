"""Tightness against closed forms."""

import math

import pytest
import torch
from torch import Tensor, nn

from gls_lightning.bounds import trace
from gls_lightning.diagnostics import Tightness, TightnessMeter, radius_grid
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import CROWNIBP, IBP, AlphaCROWN, DeepPoly, HBox, Relaxation

RELAXATIONS = [IBP(), HBox(), CROWNIBP(), DeepPoly(), AlphaCROWN()]


def measure(network: nn.Module, x: Tensor, y: Tensor, radii: list[float], *relaxations: Relaxation) -> Tightness:
    network = nn.Sequential(network)
    meter = TightnessMeter(radii, relaxations)
    graph = trace(network, x.shape[1:])
    for inputs, labels in zip(x.split(25), y.split(25), strict=True):
        meter.add(graph, dict(network.state_dict()), inputs, labels)
    return meter.result()


class Claim(IBP):
    """Claims the same bound everywhere."""

    def __init__(self, bound: float, sound: bool = True) -> None:
        self.bound, self.sound = bound, sound

    def __call__(self, graph, tensors, box, specification):
        assert box.lower.dtype == torch.double
        assert {t.dtype for t in tensors.values()} == {torch.double}
        return specification.new_full(specification.shape[:2], self.bound)


def test_a_linear_classifier_has_its_exact_curve_with_every_relaxation():
    """The margin of two logits falls linearly with the radius, away from the borders of [0, 1]."""
    torch.manual_seed(0)
    network, x = nn.Linear(6, 2), 0.4 + 0.2 * torch.rand(40, 6)
    with torch.no_grad():
        network.bias.copy_(-network.weight.sum(1) / 2)
    labels = network(x).argmax(1)
    labels[::5] = 1 - labels[::5]
    difference = network.weight[0] - network.weight[1]
    margin = (x @ difference + network.bias[0] - network.bias[1]) * (1 - 2 * labels)
    certified_radius = (margin / difference.abs().sum()).tolist()
    radii = radius_grid(0.08, 17)

    tightness = measure(network, x, labels, radii, *RELAXATIONS)

    exact = [sum(own > radius for own in certified_radius) / 40 for radius in radii]
    assert exact[0] == 0.8
    assert exact[-1] == 0
    assert len(set(exact)) > 8
    for name in ("IBP", "HBox", "CROWNIBP", "DeepPoly", "AlphaCROWN"):
        assert tightness.certified_accuracy[name] == pytest.approx(exact)
        # The area under a curve of steps is the mean of the steps' radii, up to one interval of the grid.
        mean = sum(max(0, radius) for radius in certified_radius) / 40 / 0.08
        assert tightness.auc[name] == pytest.approx(mean, abs=0.5 / 16)


def test_deep_poly_knows_that_two_units_cancel_and_ibp_does_not():
    """Logits relu(x), relu(x) - 1/4: their difference is constant, which only back-substitution sees."""
    first, second = nn.Linear(1, 2), nn.Linear(2, 2)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0], [1.0]]))
        first.bias.zero_()
        second.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        second.bias.copy_(torch.tensor([0.0, -0.25]))
    x = torch.full((3, 1), 0.5)
    network = nn.Sequential(first, nn.ReLU(), second)

    tightness = measure(network, x, torch.zeros(3, dtype=torch.int64), [0.0, 0.1, 0.2, 0.4], IBP(), DeepPoly())

    # IBP bounds the difference by 1/4 - 2 epsilon.
    assert tightness.certified_accuracy == {"IBP": (1, 1, 0, 0), "DeepPoly": (1, 1, 1, 1)}
    assert tightness.auc == {"IBP": pytest.approx((0.1 + 0.05) / 0.4), "DeepPoly": 1}


def test_the_area_is_relative_to_the_width_of_an_uneven_grid():
    tightness = Tightness((0.1, 0.2, 0.5), 4, {"IBP": (1.0, 0.5, 0.0)}, {"IBP": 0})
    assert tightness.auc["IBP"] == pytest.approx((0.1 * 0.75 + 0.3 * 0.25) / 0.4)


def test_relaxations_of_one_class_have_names_of_their_own():
    x, y = torch.rand(2, 3), torch.zeros(2, dtype=torch.int64)
    tightness = measure(nn.Linear(3, 2), x, y, [0.0, 0.1], DeepPoly(), IBP(), DeepPoly(memory_budget=1.0))
    assert list(tightness.auc) == ["DeepPoly", "IBP", "DeepPoly_2"]


def test_what_a_relaxation_claims_counts_only_where_the_network_is_right():
    torch.manual_seed(0)
    network, x = nn.Linear(3, 4), torch.rand(20, 3)
    labels = (network(x).argmax(1) + (torch.arange(20) < 5)) % 4
    tightness = measure(network, x, labels, [0.0, 1.0], Claim(1e-9), Claim(0.0), Claim(math.nan))
    assert tightness.certified_accuracy == {"Claim": (0.75, 0.75), "Claim_2": (0, 0), "Claim_3": (0, 0)}
    assert tightness.errors == {"Claim": 0, "Claim_2": 0, "Claim_3": 30}


def test_an_even_grid_ends_at_its_ends():
    assert radius_grid(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert radius_grid(0.3, 7)[-1] == 0.3


@pytest.mark.parametrize("radii", [[], [0.1], [0.2, 0.1], [0.1, 0.1], [-0.1, 0.1], [0.0, 1.1], [0.0, math.nan]])
def test_radii_that_are_no_grid(radii):
    with pytest.raises(ConfigurationError, match=r"radii is .* between 0 and 1"):
        TightnessMeter(radii)


@pytest.mark.parametrize(
    ("largest", "number", "message"),
    [
        (0, 5, "max_epsilon is 0"),
        (1.5, 5, "max_epsilon is 1.5"),
        (math.nan, 5, "max_epsilon"),
        (0.1, 1, "num_radii is 1"),
    ],
)
def test_ends_that_are_no_grid(largest, number, message):
    with pytest.raises(ConfigurationError, match=message):
        radius_grid(largest, number)


def test_relaxations_that_prove_nothing():
    with pytest.raises(ConfigurationError, match="Claim, which is not sound"):
        TightnessMeter([0.0, 0.1], [IBP(), Claim(1.0, sound=False)])
    with pytest.raises(ConfigurationError, match="relaxations is empty"):
        TightnessMeter([0.0, 0.1], [])


def test_nothing_measured():
    with pytest.raises(ConfigurationError, match="no sample"):
        TightnessMeter([0.0, 0.1]).result()
