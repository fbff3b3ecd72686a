"""The expressive losses against closed forms, their limits and the inequalities between them."""

from itertools import pairwise, product

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from torch import nn

from gls_lightning.attacks import PGD
from gls_lightning.bounds import trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives import CCIBP, EXPIBP, MTLIBP, Adversarial, Batch, Certified, ExpressiveLoss
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly

INPUT, CLASSES, EPSILON = (1, 3, 3), 4, 0.05
LOSSES = {
    "MTLIBP": MTLIBP,
    "CCIBP": CCIBP,
    "EXPIBP": EXPIBP,
    "EXPIBP of the batch": lambda **options: EXPIBP(of_batch=True, **options),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def linear_network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).double()


@pytest.fixture
def relu_network() -> nn.Sequential:
    torch.manual_seed(1)
    layers = nn.Linear(9, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, CLASSES)
    return nn.Sequential(nn.Flatten(), *layers).double().eval()


def make_batch(objective, classes: int = CLASSES) -> Batch:
    """Samples whose boxes are not clipped."""
    torch.manual_seed(0)
    inputs = 0.3 + 0.4 * torch.rand(6, *INPUT, dtype=torch.double)
    starts = objective.attack.draw_starts(INPUT, torch.arange(6), 3, 0)
    return Batch(inputs, torch.arange(6) % classes, torch.tensor(EPSILON, dtype=torch.double), (starts,))


def evaluate(objective, net, batch, relaxation=None):
    return objective(trace(net, INPUT), relaxation or IBP(), net.state_dict(keep_vars=True), batch)


@every_loss
@pytest.mark.parametrize("relaxation", [IBP(), CROWNIBP(), DeepPoly()], ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("natural_weight", [0.0, 0.3])
def test_limits(loss, relaxation, natural_weight, relu_network):
    """At 0 it is adversarial training, at 1 certified training; but for powers of means both are means over samples."""
    options = {"natural_weight": natural_weight}
    for alpha, limit in ((0.0, Adversarial(**options)), (1.0, Certified(**options))):
        objective = loss(alpha=alpha, **options)
        batch = make_batch(objective)
        found, metrics = evaluate(objective, relu_network, batch, relaxation)
        expected, expected_metrics = evaluate(limit, relu_network, batch, relaxation)
        torch.testing.assert_close(found, expected)
        assert expected_metrics.items() <= metrics.items()
        params = list(relu_network.parameters())
        gradients = [torch.autograd.grad(value, params) for value in (found, expected)]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("alpha", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.1])
def test_closed_forms_on_a_linear_network_of_two_classes(alpha, scale):
    """The attack finds the worst corner of its box, and the bound is the margin at that of its own."""
    net = linear_network()
    difference = torch.stack([net[1].weight[y] - net[1].weight[1 - y] for y in (0, 1)])
    margins = {}
    for name, factor in (("bound", 1.0), ("attack", scale)):
        by_class = net[1].bias.flip(0).diff() * torch.tensor([1, -1]) - factor * EPSILON * difference.abs().sum(1)
        batch = make_batch(MTLIBP(alpha=alpha), classes=2)
        margins[name] = (batch.inputs.flatten(1) * difference[batch.labels]).sum(1) + by_class[batch.labels]
    robust, adversarial = (F.softplus(-m) for m in (margins["bound"], margins["attack"]))
    mixed = alpha * margins["bound"] + (1 - alpha) * margins["attack"]
    expected = {
        "MTLIBP": alpha * robust.mean() + (1 - alpha) * adversarial.mean(),
        "CCIBP": F.softplus(-mixed).mean(),
        "EXPIBP": (robust**alpha * adversarial ** (1 - alpha)).mean(),
        "EXPIBP of the batch": robust.mean() ** alpha * adversarial.mean() ** (1 - alpha),
    }
    for name, loss in LOSSES.items():
        found, metrics = evaluate(loss(alpha=alpha, attack_scale=scale), net, batch)
        torch.testing.assert_close(found, expected[name])
        assert metrics["certified_accuracy"] == (margins["bound"] > 0).double().mean()
        natural = net(batch.inputs).argmax(1) == batch.labels
        assert metrics["natural_accuracy"] == natural.double().mean()
        assert metrics["adversarial_accuracy"] == (natural & (margins["attack"] > 0)).double().mean()


def test_the_box_of_the_attack_ends_where_images_do(relu_network):
    objective = MTLIBP(alpha=0.0, attack_scale=1000.0)
    batch = make_batch(objective)
    unit = torch.zeros_like(batch.inputs), torch.ones_like(batch.inputs)
    points = objective.attack(relu_network, *unit, batch.labels, *batch.starts)
    torch.testing.assert_close(
        evaluate(objective, relu_network, batch)[0], F.cross_entropy(relu_network(points), batch.labels)
    )


def at_most(small: float, large: float) -> bool:
    """But for rounding; the cross-entropy is known to 1e-16 absolutely, its logarithm relatively."""
    return small <= large * (1 + 1e-9) + 1e-14


numbers = st.floats(-30, 30, width=32)
pairs = arrays("float64", (2, 3, 4), elements=numbers)


@given(margins=pairs, alpha=st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_inequalities_between_them(margins, alpha):
    """Jensen for the convex cross-entropy; weighted means for powers, of a sample and, by Hoelder, of a batch."""
    lower, attacked = torch.from_numpy(margins)
    loss = {name: make(alpha=alpha).combine(lower, attacked).item() for name, make in LOSSES.items()}
    assert at_most(loss["CCIBP"], loss["MTLIBP"])
    assert at_most(loss["EXPIBP"], loss["EXPIBP of the batch"])
    assert at_most(loss["EXPIBP of the batch"], loss["MTLIBP"])


@every_loss
@given(margins=pairs, alphas=st.tuples(st.floats(0, 1), st.floats(0, 1)))
@settings(max_examples=50, deadline=None)
def test_between_the_adversarial_and_the_robust_loss_and_rising(loss, margins, alphas):
    """If the bounds are below the margins at the points, as they are for points of their own box."""
    attacked, below = torch.from_numpy(margins)
    lower = attacked - below.abs()
    values = [loss(alpha=alpha).combine(lower, attacked).item() for alpha in (0.0, *sorted(alphas), 1.0)]
    assert all(at_most(a, b) for a, b in pairwise(values))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_losses_that_round_to_zero_have_finite_gradients(loss, dtype):
    for alpha, *margins in product([0.0, 0.3, 1.0], [-1e4, 0.0, 50.0, 1e4, 1e30], [-1e4, 50.0, 1e4, 1e30]):
        lower, attacked = (torch.full((2, 3), m, dtype=dtype, requires_grad=True) for m in margins)
        value = loss(alpha=alpha).combine(lower, attacked)
        assert value.isfinite()
        assert all(g.isfinite().all() for g in torch.autograd.grad(value, (lower, attacked)))


@pytest.mark.parametrize("of_batch", [False, True])
def test_powers_of_small_losses_are_as_exact_as_those_of_large_ones(of_batch):
    """In float32, whose cross-entropy of margin 30 is 0; in float64 it is the sum of exp(-margin) to 13 digits."""
    lower, attacked = torch.tensor([[30.0, 31.0], [2.0, 3.0]]), torch.tensor([[33.0, 60.0], [16.0, 40.0]])
    found = EXPIBP(alpha=0.4, of_batch=of_batch).combine(lower, attacked)
    robust, adversarial = ((-m.double()).exp().sum(1).log1p() for m in (lower, attacked))
    if of_batch:
        robust, adversarial = robust.mean(), adversarial.mean()
    torch.testing.assert_close(found.double(), (robust**0.4 * adversarial**0.6).mean(), rtol=1e-5, atol=0)


@every_loss
def test_gradient_against_finite_differences(loss):
    torch.manual_seed(0)
    margins = tuple((5 * torch.randn(4, 3, dtype=torch.double)).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(loss(alpha=0.3).combine, margins)


def test_defaults_are_those_of_ctbench():
    objective = MTLIBP(alpha=0.02)
    assert isinstance(objective, ExpressiveLoss)
    assert isinstance(objective.attack, PGD)
    assert (objective.attack.steps, objective.attack.restarts, objective.attack_scale) == (10, 3, 1.0)
    assert objective.natural_weight == 0


@every_loss
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -0.1}, r"alpha is -0\.1; it must be between 0"),
        ({"alpha": 1.5}, r"alpha is 1\.5"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"alpha": 0.5, "attack_scale": -1.0}, r"attack_scale is -1\.0; it must be a finite number of at least 0"),
        ({"alpha": 0.5, "attack_scale": float("inf")}, "attack_scale is inf"),
        ({"alpha": 0.5, "attack_scale": float("nan")}, "attack_scale is nan"),
        ({"alpha": 0.5, "natural_weight": 2.0}, "natural_weight is 2"),
    ],
)
def test_options_out_of_range(loss, options, message):
    with pytest.raises(ConfigurationError, match=message):
        loss(**options)
