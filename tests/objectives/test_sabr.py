"""SABR against its limits, boxes made by hand and what small boxes must be."""

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import nn

from gls_lightning.attacks import PGD, Attack
from gls_lightning.bounds import Box, trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import RGS, Step
from gls_lightning.objectives import SABR, Adversarial, Batch, Certified, Standard
from gls_lightning.objectives._small_boxes import SmallBoxes
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly

INPUT, CLASSES, EPSILON = (1, 4, 4), 3, 0.1
every_radius = pytest.mark.parametrize("radius", ["half_width", "epsilon"])


class Residual(nn.Module):
    """A residual connection, BatchNorm and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.inner = nn.Conv2d(2, 2, 3, padding=1)
        self.output = nn.Linear(32, CLASSES)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return self.output(torch.relu(x + self.inner(x)).flatten(1))


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(1)
    return Residual().double().eval()


def make_batch(objective, net, epsilon: float = EPSILON) -> Batch:
    """Images from 0 to 1, so that many boxes are clipped."""
    torch.manual_seed(0)
    inputs = (1.4 * torch.rand(6, *INPUT, dtype=torch.double) - 0.2).clamp(0, 1)
    starts = objective.draw_starts(trace(net, INPUT), torch.arange(6), 0)
    return Batch(inputs, torch.arange(6) % CLASSES, torch.tensor(epsilon, dtype=torch.double), starts)


def evaluate(objective, net, batch, relaxation=None):
    return objective(trace(net, INPUT), relaxation or IBP(), net.state_dict(keep_vars=True), batch)


def gradients(loss, net):
    return torch.autograd.grad(loss, list(net.parameters()))


@every_radius
@pytest.mark.parametrize("relaxation", [IBP(), CROWNIBP(), DeepPoly()], ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("natural_weight", [0.0, 0.3])
def test_limits(radius, relaxation, natural_weight, net):
    """Ratio 0 is adversarial training, 1 with each coordinate's half-width certified training."""
    whole = SABR(subselection_ratio=1.0, natural_weight=natural_weight)
    points = SABR(subselection_ratio=0.0, radius=radius, natural_weight=natural_weight)
    adversarial = Adversarial(attack=points.attack, natural_weight=natural_weight)
    for objective, limit in ((whole, Certified(natural_weight=natural_weight)), (points, adversarial)):
        batch = make_batch(objective, net)
        loss, metrics = evaluate(objective, net, batch, relaxation)
        expected, expected_metrics = evaluate(limit, net, batch, relaxation)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradients(loss, net), gradients(expected, net))
        own = {**metrics, "certified_accuracy": metrics["small_box_certified_accuracy"]}
        assert expected_metrics == {name: own[name] for name in expected_metrics}


@pytest.mark.parametrize(
    ("radius", "x", "point", "expected"),
    [  # epsilon is 0.2, the ratio 0.75
        ("half_width", 0.5, 0.5, (0.35, 0.65)),
        ("half_width", 0.5, 0.54, (0.39, 0.69)),
        ("half_width", 0.5, 0.70, (0.40, 0.70)),
        ("half_width", 0.5, 0.30, (0.30, 0.60)),
        ("half_width", 0.0, 0.2, (0.05, 0.2)),
        ("half_width", 0.9, 1.0, (0.775, 1.0)),
        ("epsilon", 0.5, 0.54, (0.39, 0.69)),
        ("epsilon", 0.5, 0.70, (0.40, 0.70)),
        ("epsilon", 0.15, 0.35, (0.05, 0.35)),
        ("epsilon", 0.9, 0.7, (0.7, 1.0)),
        # narrower than 2 * 0.75 * 0.2: all of it, at both ends
        ("epsilon", 0.0, 0.2, (0.0, 0.2)),
        ("epsilon", 0.0, 0.0, (0.0, 0.2)),
        ("epsilon", 1.0, 0.8, (0.8, 1.0)),
        ("epsilon", 1.0, 1.0, (0.8, 1.0)),
        ("epsilon", 0.05, 0.1, (0.0, 0.25)),
    ],
)
def test_boxes_by_hand(radius, x, point, expected):
    epsilon = torch.tensor(0.2, dtype=torch.double)
    whole = Box.around(torch.tensor([[x]], dtype=torch.double), epsilon)
    box = SmallBoxes(None, 0.75, radius).around(torch.tensor([[point]], dtype=torch.double), whole, epsilon)
    assert (box.lower.item(), box.upper.item()) == pytest.approx(expected)


numbers = st.floats(0, 1)


@given(
    x=numbers,
    epsilon=st.floats(0, 1.5),
    ratio=numbers,
    position=numbers,
    radius=st.sampled_from(["half_width", "epsilon"]),
)
@settings(deadline=None, max_examples=300)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_boxes_lie_inside_hold_the_point_and_have_the_width(dtype, x, epsilon, ratio, position, radius):
    whole = Box.around(torch.full((1, 1), x, dtype=dtype), torch.tensor(epsilon, dtype=dtype))
    point = (whole.lower + position * (whole.upper - whole.lower)).clamp(*whole)
    box = SmallBoxes(None, ratio, radius).around(point, whole, torch.tensor(epsilon, dtype=dtype))
    assert whole.lower <= box.lower <= box.upper <= whole.upper
    rounding = 8 * torch.finfo(dtype).eps
    assert box.lower - rounding <= point <= box.upper + rounding
    width = (whole.upper - whole.lower).item()
    of_box = ratio * width if radius == "half_width" else min(2 * ratio * epsilon, width)
    assert (box.upper - box.lower).item() == pytest.approx(of_box, abs=rounding)
    # the point is the centre unless the box would reach out
    inside = whole.lower + of_box / 2 < point < whole.upper - of_box / 2
    if inside:
        assert box.centre.item() == pytest.approx(point.item(), abs=rounding)


class Fixed(Attack):
    def __init__(self, points) -> None:
        self.points = points

    def __call__(self, logits, lower, upper, labels, starts):
        return self.points


@every_radius
def test_loss_and_metrics_by_hand(radius, net):
    objective = SABR(attack=PGD(steps=3), subselection_ratio=0.3, radius=radius)
    batch = make_batch(objective, net)
    lower, upper = (batch.inputs - EPSILON).clamp(min=0), (batch.inputs + EPSILON).clamp(max=1)
    points = objective.attack(net, lower, upper, batch.labels, batch.starts[0])
    small = 0.3 * (upper - lower) / 2 if radius == "half_width" else torch.full_like(lower, 0.3 * EPSILON)
    centre = torch.minimum(torch.maximum(points, lower + small), upper - small)
    graph, tensors = trace(net, INPUT), net.state_dict()
    losses, proved = [], []
    for sample, label, half in zip(centre, batch.labels, small, strict=True):
        rows = torch.stack([F.one_hot(label, CLASSES) - F.one_hot(torch.tensor(i), CLASSES) for i in range(CLASSES)])
        bounds = IBP()(graph, tensors, Box((sample - half)[None], (sample + half)[None]), rows[None].double())[0]
        losses.append((-bounds).exp().sum().log())  # the row of the label itself is 0
        proved.append(sum(bounds > 0) == CLASSES - 1)
    natural, attacked = (net(x).argmax(1) == batch.labels for x in (batch.inputs, points))

    loss, metrics = evaluate(objective, net, batch)
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    assert metrics == {
        "natural_accuracy": natural.double().mean(),
        "adversarial_accuracy": (natural & attacked).double().mean(),
        "small_box_certified_accuracy": (natural & torch.stack(proved)).double().mean(),
    }


@every_radius
def test_larger_boxes_have_larger_losses(radius, net):
    """Boxes of a larger ratio hold those of a smaller one, and bounds by intervals respect that."""
    batch = make_batch(SABR(), net)
    ratios = torch.linspace(0, 1, 11).tolist()
    losses = torch.stack([evaluate(SABR(subselection_ratio=r, radius=radius), net, batch)[0] for r in ratios])
    assert (losses.diff() >= -1e-12).all()
    assert losses[-1] > losses[0]


@every_radius
def test_at_radius_zero_it_is_standard(radius, net):
    objective = SABR(radius=radius)
    batch = make_batch(objective, net, epsilon=0.0)
    (loss, metrics), (expected, natural) = (evaluate(o, net, batch) for o in (objective, Standard()))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss, net), gradients(expected, net))
    assert len(metrics) == 3
    assert all(value == natural["natural_accuracy"] for value in metrics.values())


@every_radius
@pytest.mark.parametrize("epsilon", [0.0, 1e-30, 1.0, 5.0])
def test_finite_at_every_radius(radius, epsilon, net):
    objective = SABR(radius=radius, subselection_ratio=0.9)
    loss, _ = evaluate(objective, net, make_batch(objective, net, epsilon), CROWNIBP())
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(loss, net))


@pytest.mark.parametrize("relaxation", [IBP(), CROWNIBP()], ids=lambda r: type(r).__name__)
def test_gradient_against_finite_differences_at_fixed_points(relaxation, net):
    batch = make_batch(SABR(), net)
    points = (batch.inputs + 0.07 * torch.randn_like(batch.inputs).sign()).clamp(0, 1)
    graph, tensors = trace(net, INPUT), dict(net.state_dict())
    names = [name for name, _ in net.named_parameters()]

    def loss(*params):
        return SABR(attack=Fixed(points))(
            graph, relaxation, {**tensors, **dict(zip(names, params, strict=True))}, batch
        )[0]

    params = tuple(tensors[name].clone().requires_grad_() for name in names)
    assert torch.autograd.gradcheck(loss, params, eps=1e-7, atol=1e-6)


def test_gradients_under_vmap_and_in_rgs_are_the_gradients(net):
    """With the statistics of the batch, as in training."""
    objective = SABR(attack=PGD(steps=3, restarts=2))
    graph, fixed, batch = trace(net, INPUT), dict(net.state_dict()), make_batch(objective, net)

    def loss_of(params):
        tensors = {**fixed, **params}
        return objective(graph, IBP(), {**tensors, **graph.batch_statistics(tensors, batch.inputs)}, batch)

    params = dict(net.named_parameters())
    expected = torch.autograd.grad(loss_of(params)[0], list(params.values()))
    estimate = RGS(population_size=2, sigma=0.0)(loss_of, params, Step(0, 0))
    torch.testing.assert_close(torch.autograd.grad(estimate.loss, list(params.values())), expected)
    stacked = {name: p.detach().expand(2, *p.shape) for name, p in params.items()}
    together, _ = torch.func.vmap(torch.func.grad(loss_of, has_aux=True))(stacked)
    for member in range(2):
        torch.testing.assert_close(tuple(together[name][member] for name in params), expected)


def test_the_default_attack_is_that_of_ctbench():
    attack = SABR().attack
    assert isinstance(attack, PGD)
    assert (attack.steps, attack.restarts, attack.step_size, attack.loss) == (10, 3, 0.2, "cross_entropy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subselection_ratio": -0.1}, "subselection_ratio is -0.1; it must be between 0 and 1"),
        ({"subselection_ratio": float("nan")}, "subselection_ratio is nan"),
        ({"radius": "width"}, "radius is 'width'; it must be one of half_width, epsilon"),
        ({"natural_weight": 2.0}, "natural_weight is 2.0"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        SABR(**options)
