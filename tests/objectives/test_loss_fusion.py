import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn

from gls_lightning.bounds import Box, Graph, margin_specification, trace
from gls_lightning.objectives import Batch, Certified, robust_cross_entropy
from gls_lightning.objectives._loss_fusion import FusedLoss
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly

SHAPE = (1, 4, 4)
relaxations = pytest.mark.parametrize("relaxation", [IBP(), CROWNIBP(), DeepPoly()], ids=lambda r: type(r).__name__)


def make(seed: int, classes: int = 5, batch: int = 3, scale: float = 1.0) -> tuple[nn.Module, Tensor, Tensor]:
    """A network in float64, inputs and labels."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(
            *(nn.Conv2d(1, 3, 3, 1, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, classes)),
        )
        with torch.no_grad():
            network[-1].weight.mul_(scale)
        return network.double().eval(), torch.rand(batch, *SHAPE, dtype=torch.double), torch.randint(classes, (batch,))


def evaluate(network, inputs, labels, epsilon, relaxation, **options) -> Tensor:
    batch = Batch(inputs, labels, torch.as_tensor(epsilon, dtype=inputs.dtype))
    tensors = dict(network.state_dict(keep_vars=True))
    return Certified(**options)(trace(network, SHAPE), relaxation, tensors, batch)[0]


@relaxations
@given(seed=st.integers(0, 10**6), epsilon=st.sampled_from([0.003, 0.1, 1.0]), scale=st.sampled_from([1.0, 30.0]))
@settings(max_examples=10, deadline=None)
def test_above_the_loss_of_samples_and_corners(relaxation, seed, epsilon, scale):
    network, inputs, labels = make(seed, batch=1, scale=scale)
    bound = evaluate(network, inputs, labels, epsilon, relaxation, loss_fusion=True)
    place = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    place[::2] = place[::2].round()
    x = torch.lerp(*Box.around(inputs, epsilon), place)
    assert (F.cross_entropy(network(x), labels.expand(40), reduction="none") <= bound * (1 + 1e-12) + 1e-12).all()


@given(data=st.data(), classes=st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_the_line_is_above_the_sum_and_touches_it_at_corners(data, classes):
    """The line by itself, against the sum that it replaces, for margins anywhere between their bounds."""
    numbers = st.lists(st.floats(-6, 6), min_size=classes - 1, max_size=classes - 1)
    lower = torch.tensor([data.draw(numbers)], dtype=torch.double)
    width = torch.tensor([data.draw(numbers)], dtype=torch.double).abs()
    place = torch.tensor([data.draw(numbers)], dtype=torch.double).abs() / 6
    margins = margin_specification(torch.tensor([0]), classes, torch.double)
    fused = FusedLoss.between(lower, lower + width, margins)
    for share, exact in ((place, False), (place.round(), True)):
        d = torch.lerp(lower, lower + width, share)
        logits = F.pad(-d, (1, 0))  # the label's logit is 0
        value = fused.cross_entropy(torch.einsum("bsk,bk->bs", fused.row, logits))
        expected = robust_cross_entropy(d)
        assert (value >= expected - 1e-8).all()
        if exact:
            torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-8)


@relaxations
def test_at_radius_zero_it_is_the_cross_entropy_and_so_is_its_gradient(relaxation):
    network, inputs, labels = make(1)
    loss = evaluate(network, inputs, labels, 0.0, relaxation, loss_fusion=True)
    expected = F.cross_entropy(network(inputs), labels)
    torch.testing.assert_close(loss, expected)
    params = list(network.parameters())
    torch.testing.assert_close(torch.autograd.grad(loss, params), torch.autograd.grad(expected, params))


@relaxations
def test_with_two_classes_it_lies_between_the_plain_bound_and_that_of_the_intervals(relaxation):
    """Where the relaxation is no looser than intervals, for beyond its ends a chord is below the exponential."""
    compared = 0
    for seed in range(6):
        problem = (*make(seed, classes=2, batch=1), 0.1)
        plain, interval = evaluate(*problem, relaxation), evaluate(*problem, IBP())
        if plain <= interval:
            compared += 1
            assert plain - 1e-9 <= evaluate(*problem, relaxation, loss_fusion=True) <= interval + 1e-9
    assert compared > 2


def test_fusing_interval_bounds_never_loosens_them():
    """One row of the last layer loses no more than a row for each margin."""
    for seed in range(6):
        problem = (*make(seed), 0.1, IBP())
        assert evaluate(*problem, loss_fusion=True) < evaluate(*problem)


@pytest.mark.parametrize("scale", [0.0, 1e3, 1e5])
def test_large_margins_in_single_precision_stay_finite(scale):
    network, inputs, labels = make(3, batch=8, scale=scale)
    exact = evaluate(network, inputs, labels, 0.1, CROWNIBP(), loss_fusion=True)
    loss = evaluate(network.float(), inputs.float(), labels, 0.1, CROWNIBP(), loss_fusion=True)
    torch.testing.assert_close(loss.double(), exact, rtol=1e-4, atol=1e-4)
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, list(network.parameters())))


def test_rounding_cannot_bring_it_below_the_loss_of_the_largest_margins():
    """Where intervals see [-1000, 0] and the relaxation proves that the margin is 0, the chord leaves exp(-1000)."""
    lower, upper = torch.tensor([[-1e3]], requires_grad=True), torch.tensor([[0.0]], requires_grad=True)
    fused = FusedLoss.between(lower, upper, margin_specification(torch.tensor([0]), 2))
    loss = fused.cross_entropy(torch.zeros(1, 1) + 1e-9)
    assert torch.log(torch.tensor(2.0)) - 1e-6 <= loss.item() < 1e3
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss.sum(), (lower, upper)))


@relaxations
def test_intervals_are_found_once_and_the_loss_is_that_of_their_bounds(relaxation, monkeypatch):
    network, inputs, labels = make(4)
    graph, tensors = trace(network, SHAPE), dict(network.state_dict(keep_vars=True))
    problem = graph, tensors, Box.around(inputs, 0.1)
    margins = margin_specification(labels, 5, torch.double)
    lower, negated_upper = IBP()(*problem, torch.cat([margins, -margins], 1)).chunk(2, 1)
    fused = FusedLoss.between(lower, -negated_upper, margins)
    expected = fused.cross_entropy(relaxation(*problem, fused.row)).mean()
    bounded, interval = [], Graph._interval

    def noted(self, tensors, node, *boxes):
        bounded.append(node.name)
        return interval(self, tensors, node, *boxes)

    monkeypatch.setattr(Graph, "_interval", noted)
    loss = evaluate(network, inputs, labels, 0.1, relaxation, loss_fusion=True)
    assert bounded == [node.name for node in graph.nodes[:-1]], "each node once, the last layer never"
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    params = list(network.parameters())
    gradients = (torch.autograd.grad(value, params) for value in (loss, expected))
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


@relaxations
def test_fused_certified_accuracy_counts_what_is_proved(relaxation):
    counted = 0
    for seed in range(10):
        network, inputs, _ = make(seed, classes=3, batch=1, scale=3.0)
        labels = network(inputs).argmax(1)
        batch = Batch(inputs, labels, torch.tensor(0.02, dtype=torch.double))
        _, metrics = Certified(loss_fusion=True)(trace(network, SHAPE), relaxation, network.state_dict(), batch)
        assert metrics.keys() == {"natural_accuracy", "fused_certified_accuracy"}
        if metrics["fused_certified_accuracy"]:
            counted += 1
            corners = torch.lerp(*Box.around(inputs, 0.02), torch.rand(50, *SHAPE, dtype=torch.double).round())
            assert (network(corners).argmax(1) == labels).all()
    assert 0 < counted < 10


def test_a_fused_loss_below_log_2_proves_what_intervals_do_not():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():  # two equal hidden units that cancel: the margin is 1, and 1 +- 1.28 for intervals
        network[1].weight.fill_(1.0)
        network[1].bias.zero_()
        network[3].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
        network[3].bias.copy_(torch.tensor([1.0, 0.0]))
    batch = Batch(torch.full((1, *SHAPE), 0.5).double(), torch.tensor([0]), torch.tensor(0.04).double())
    for relaxation, expected in ((IBP(), 0.0), (CROWNIBP(), 1.0)):
        _, metrics = Certified(loss_fusion=True)(trace(network, SHAPE), relaxation, network.state_dict(), batch)
        assert metrics["fused_certified_accuracy"] == expected
