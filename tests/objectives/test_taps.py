"""TAPS and STAPS against closed forms, brute force in the box at the cut, and the inequalities that must hold."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from gls_lightning.attacks import PGD
from gls_lightning.bounds import Box, trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import RGS, Step
from gls_lightning.networks import CNN7
from gls_lightning.objectives import SABR, STAPS, TAPS, Batch, Certified, Standard
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly

INPUT, CLASSES, EPSILON, WIDTH = (1, 3, 3), 4, 0.1, 6
alone = {"relaxation_multiplier": False, "gradient_scale": 1.0}
both = pytest.mark.parametrize("kind", [TAPS, STAPS])


def network(seed: int, width: int = WIDTH) -> nn.Sequential:
    torch.manual_seed(seed)
    hidden = nn.Linear(9, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 8), nn.ReLU()
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(8, CLASSES)).double().eval()


@pytest.fixture
def net() -> nn.Sequential:
    return network(1)


def make_batch(objective, net, epsilon: float = EPSILON, progress: float = 1.0) -> Batch:
    torch.manual_seed(0)
    inputs = (1.2 * torch.rand(6, *INPUT, dtype=torch.double) - 0.1).clamp(0, 1)
    starts = objective.draw_starts(trace(net, INPUT), torch.arange(6), 0)
    radius = torch.tensor(epsilon, dtype=torch.double)
    return Batch(inputs, torch.arange(6) % CLASSES, radius, starts, progress)


def evaluate(objective, net, batch, relaxation=None):
    return objective(trace(net, INPUT), relaxation or IBP(), net.state_dict(keep_vars=True), batch)


def gradients(loss, net):
    return torch.autograd.grad(loss, list(net.parameters()))


def latent_box(net, box: Box) -> tuple[torch.Tensor, torch.Tensor]:
    """Intervals at the output of the first ReLU, layer by layer."""
    lower, upper = (side.flatten(1) for side in box)
    weight, bias = net[1].weight, net[1].bias
    ends = torch.stack([weight * lower[:, None], weight * upper[:, None]])
    lower, upper = (end.sum(2) + bias for end in (ends.amin(0), ends.amax(0)))
    return tuple(torch.relu(net[2](end)) for end in (lower, upper))  # its scales are positive


def margins_of(logits, labels):
    """The true logit minus every other one, ``[B, K - 1]``."""
    return torch.stack([z[y] - z[[i for i in range(CLASSES) if i != y]] for z, y in zip(logits, labels, strict=True)])


@pytest.mark.parametrize("relaxation_multiplier", [False, True])
@pytest.mark.parametrize("of_batch", [False, True])
def test_behind_the_last_relu_the_attack_is_exact(relaxation_multiplier, of_batch, net):
    """There the margins are linear, and their smallest values over the box are IBP's bounds, gradients included."""
    options = {"relaxation_multiplier": relaxation_multiplier, "of_batch": of_batch}
    objective = TAPS(classifier_relus=0, gradient_scale=3.0, **options)
    batch = make_batch(objective, net)
    loss, metrics = evaluate(objective, net, batch)
    each = [batch._replace(inputs=batch.inputs[i : i + 1], labels=batch.labels[i : i + 1]) for i in range(6)]
    certified = torch.stack([evaluate(Certified(), net, sample)[0] for sample in each])
    powers = certified.mean() ** 2 if of_batch else (certified**2).mean()
    expected = powers if relaxation_multiplier else certified.mean()
    torch.testing.assert_close(loss, expected)
    assert metrics["latent_adversarial_accuracy"] == metrics["certified_accuracy"]
    # the derivative of f f is 2 f f', with the scale 3 on one of them it is 4 f f'
    factor = 2.0 if relaxation_multiplier else 3.0
    scaled = [factor * gradient for gradient in gradients(expected, net)]
    torch.testing.assert_close([*gradients(loss, net)], scaled)


@pytest.mark.parametrize("seed", range(3))
def test_the_attacks_find_the_worst_latent_points(seed):
    """With two latent coordinates a fine grid knows the smallest margins."""
    net = network(seed, width=2)
    objective = TAPS(latent_attack=PGD(steps=40, restarts=10, step_size=0.2), **alone)
    batch = make_batch(objective, net, epsilon=0.2)
    lower, upper = latent_box(net, Box.around(batch.inputs, batch.epsilon))
    ticks = torch.linspace(0, 1, 81, dtype=torch.double)
    grid = torch.cartesian_prod(ticks, ticks)
    logits = net[4:](lower[:, None] + grid * (upper - lower)[:, None])
    smallest = torch.stack([margins_of(z, batch.labels) for z in logits.unbind(1)]).amin(0)
    expected = (1 + (-smallest).exp().sum(1)).log().mean()
    natural = net(batch.inputs).argmax(1) == batch.labels

    loss, metrics = evaluate(objective, net, batch)
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-3)
    assert loss >= expected - 1e-3
    robust = (natural & (smallest > 0).all(1)).double().mean()
    assert metrics["latent_adversarial_accuracy"] == pytest.approx(robust.item(), abs=1e-12)


@given(seed=st.integers(0, 1000), epsilon=st.floats(0, 0.5), ratio=st.floats(0, 1))
@settings(deadline=None, max_examples=15)
def test_never_above_the_loss_of_ibp(seed, epsilon, ratio):
    """The points lie in IBP's box, so their margins are not below IBP's bounds."""
    net = network(seed)
    sabr = SABR(attack=PGD(steps=2), subselection_ratio=ratio)
    small = {"attack": sabr.attack, "subselection_ratio": ratio}
    for kind, limit, options in ((TAPS, Certified(), {}), (STAPS, sabr, small)):
        options = {"latent_attack": PGD(steps=3), **options}
        batch = make_batch(kind(**options), net, epsilon)
        bounded, proved = evaluate(limit, net, batch)
        sampled, metrics = evaluate(kind(**alone, **options), net, batch)
        assert sampled <= bounded + 1e-12
        assert metrics["latent_adversarial_accuracy"] >= [*proved.values()][-1]
        product, _ = evaluate(kind(**options), net, batch)
        torch.testing.assert_close(product, sampled * bounded)


def test_no_smaller_than_the_loss_at_any_start(net):
    """A start is a point of the box, and the best point visited is kept."""
    objective = TAPS(latent_attack=PGD(steps=2, restarts=3), **alone)
    batch = make_batch(objective, net)
    lower, upper = latent_box(net, Box.around(batch.inputs, batch.epsilon))
    loss, _ = evaluate(objective, net, batch)
    (starts,) = batch.starts
    for start in starts.double():
        margins = margins_of(net[4:](lower + start * (upper - lower)), batch.labels)
        assert loss >= (1 + (-margins).exp().sum(1)).log().mean()


class Kind(PGD):
    """Finds the best of many points in place of the worst."""

    def margin_points(self, logits, lower, upper, labels, starts, num_classes):
        points = lower + torch.rand(500, *lower.shape, dtype=lower.dtype) * (upper - lower)
        smallest = torch.stack([margins_of(logits(x), labels).amin(1) for x in points])
        best = points[smallest.argmax(0), torch.arange(len(labels))]
        return best[:, None].expand(-1, num_classes - 1, -1)


def test_only_what_is_classified_correctly_counts(net):
    """Though the latent points of some misclassified samples are not."""
    objective = TAPS(latent_attack=Kind())
    batch = make_batch(objective, net, epsilon=1.0)
    _, metrics = evaluate(objective, net, batch)
    assert 0 < metrics["natural_accuracy"] < 1
    assert metrics["latent_adversarial_accuracy"] == metrics["natural_accuracy"]


@both
def test_until_the_radius_has_reached_its_target_it_is_the_relaxation_alone(kind, net):
    objective, limit = kind(), {TAPS: Certified(), STAPS: SABR()}[kind]
    ramping = make_batch(objective, net, progress=0.99)
    (loss, metrics), (expected, of_limit) = (evaluate(o, net, ramping, CROWNIBP()) for o in (objective, limit))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss, net), gradients(expected, net))
    assert metrics == of_limit
    reached = evaluate(objective, net, ramping._replace(progress=1.0))[0]
    assert reached != evaluate(objective, net, ramping)[0]
    always = kind(relaxation_during_ramp=False)
    assert torch.equal(evaluate(always, net, ramping)[0], reached)


def test_staps_on_the_whole_box_is_taps(net):
    taps, staps = TAPS(), STAPS(subselection_ratio=1.0)
    batch = make_batch(staps, net)
    (loss, metrics), (expected, of_taps) = (
        evaluate(o, net, batch._replace(starts=batch.starts[-o_starts:])) for o, o_starts in ((staps, 2), (taps, 1))
    )
    torch.testing.assert_close(loss, expected)
    assert metrics["small_box_certified_accuracy"] == of_taps["certified_accuracy"]
    assert metrics["latent_adversarial_accuracy"] == of_taps["latent_adversarial_accuracy"]


def test_staps_at_points_alone_is_sabr(net):
    """Small boxes of no width have latent boxes of none."""
    batch = make_batch(STAPS(), net)
    expected, _ = evaluate(SABR(subselection_ratio=0.0), net, batch)
    loss, _ = evaluate(STAPS(subselection_ratio=0.0, **alone), net, batch)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss, net), gradients(expected, net))


@both
@pytest.mark.parametrize("relaxation", [IBP(), CROWNIBP(), DeepPoly()], ids=lambda r: type(r).__name__)
def test_at_radius_zero_it_is_the_cross_entropy(kind, relaxation, net):
    """The gradient is the true one, too: half of it goes through each corner."""
    batch = make_batch(kind(), net, epsilon=0.0)
    expected, natural = evaluate(Standard(), net, batch)
    loss, metrics = evaluate(kind(**alone), net, batch, relaxation)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss, net), gradients(expected, net))
    assert metrics["latent_adversarial_accuracy"] == natural["natural_accuracy"]
    product, _ = evaluate(kind(), net, batch, relaxation)
    torch.testing.assert_close(product, expected**2)


@both
@pytest.mark.parametrize("epsilon", [0.0, 1e-30, 1.0, 5.0])
def test_finite_at_every_radius(kind, epsilon, net):
    loss, _ = evaluate(kind(), net, make_batch(kind(), net, epsilon), CROWNIBP())
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(loss, net))


def test_gradient_through_the_link_by_hand(net):
    """Of the margins at the points in the parameters behind the cut, and through the corners in those before it."""
    objective = TAPS(latent_attack=PGD(steps=3, restarts=2, step_size=0.3, loss="margin"), link_threshold=0.4, **alone)
    batch = make_batch(objective, net)
    lower, upper = latent_box(net, Box.around(batch.inputs, batch.epsilon))
    attack = objective.latent_attack
    points = attack.margin_points(net[4:], lower.detach(), upper.detach(), batch.labels, batch.starts[-1], CLASSES)
    margins = torch.zeros(6, CLASSES - 1, dtype=torch.double)
    through, corners = torch.zeros(()), []
    for i, label in enumerate(batch.labels.tolist()):
        for k, other in enumerate(j for j in range(CLASSES) if j != label):
            x = points[i, k].clone().requires_grad_()
            logits = net[4:](x[None])[0]
            margins[i, k] = logits[label] - logits[other]
            corners.append((i, x))
    loss = (1 + (-margins).exp().sum(1)).log().mean()
    slopes = torch.autograd.grad(loss, [x for _, x in corners], retain_graph=True)
    for (i, x), slope in zip(corners, slopes, strict=True):
        for j in range(WIDTH):
            low, high = lower[i, j], upper[i, j]
            reach = 0.4 * (high - low).item()
            to_low, to_high = (x[j] - low).item(), (high - x[j]).item()
            weights = (max(0, 1 - to_low / reach), max(0, 1 - to_high / reach)) if reach else (0.5, 0.5)
            through = through + slope[j] * (weights[0] * low + weights[1] * high)
    expected = torch.autograd.grad(loss + through, list(net.parameters()))

    taps, _ = evaluate(objective, net, batch)
    torch.testing.assert_close(taps, loss)
    torch.testing.assert_close(gradients(taps, net), expected)


@both
def test_gradients_under_vmap_and_in_rgs_are_the_gradients(kind, net):
    """With the statistics of the batch, as in training; and the values under ``no_grad``."""
    objective = kind(latent_attack=PGD(steps=3, restarts=2))
    graph, fixed, batch = trace(net, INPUT), dict(net.state_dict()), make_batch(objective, net)

    def loss_of(params):
        tensors = {**fixed, **params}
        return objective(graph, IBP(), {**tensors, **graph.batch_statistics(tensors, batch.inputs)}, batch)

    params = dict(net.named_parameters())
    loss, metrics = loss_of(params)
    expected = torch.autograd.grad(loss, list(params.values()))
    estimate = RGS(population_size=2, sigma=0.0)(loss_of, params, Step(0, 0))
    torch.testing.assert_close(torch.autograd.grad(estimate.loss, list(params.values())), expected)
    assert estimate.metrics == metrics
    stacked = {name: p.detach().expand(2, *p.shape) for name, p in params.items()}
    together, _ = torch.func.vmap(torch.func.grad(loss_of, has_aux=True))(stacked)
    for member in range(2):
        torch.testing.assert_close(tuple(together[name][member] for name in params), expected)
    with torch.no_grad():
        torch.testing.assert_close(torch.func.vmap(loss_of)(stacked)[0], loss.detach().expand(2))
        assert torch.equal(loss_of(params)[0], loss)


@both
def test_members_of_a_population_are_the_loop(kind, net):
    objective = kind(latent_attack=PGD(steps=3, restarts=2))
    graph, fixed, batch = trace(net, INPUT), dict(net.state_dict()), make_batch(objective, net)
    torch.manual_seed(3)
    stacked = {name: p.detach() + 0.1 * torch.randn(3, *p.shape).double() for name, p in net.named_parameters()}

    def loss_of(params):
        return objective(graph, CROWNIBP(), {**fixed, **params}, batch)

    losses, metrics = torch.func.vmap(loss_of)(stacked)
    for i in range(3):
        loss, own = loss_of({name: p[i] for name, p in stacked.items()})
        torch.testing.assert_close(losses[i], loss)
        assert all(metrics[name][i] == value for name, value in own.items())


@pytest.mark.parametrize(("classifier_relus", "layer"), [(1, "relu5"), (2, "relu4"), (3, "relu3"), (5, "relu1")])
def test_the_cuts_of_ctbench(classifier_relus, layer):
    """Its blocks 17 4, 13 8, 10 11 and 4 17 end behind these layers of CNN7."""
    net = CNN7(input_shape=(1, 16, 16), batch_norm=True).eval()
    shapes = {}
    for name, module in net.named_modules():
        module.register_forward_hook(lambda _m, _i, output, name=name: shapes.update({name: output.shape[1:]}))
    net(torch.rand(1, 1, 16, 16))
    objective = TAPS(classifier_relus=classifier_relus, latent_attack=PGD(restarts=2))
    (starts,) = objective.draw_starts(trace(net, (1, 16, 16)), torch.arange(1), 0)
    assert starts.shape == (2, 1, *shapes[layer])


def test_starts_of_inputs_come_first_and_are_unrelated(net):
    objective = STAPS(attack=PGD(restarts=2), latent_attack=PGD(restarts=4))
    graph, indices = trace(net, INPUT), torch.tensor([7, 3])
    inputs, latent = objective.draw_starts(graph, indices, 5, 6)
    assert torch.equal(inputs, PGD(restarts=2).draw_starts(INPUT, indices, 5, 6))
    assert latent.shape == (4, 2, WIDTH)
    assert not torch.isin(latent, inputs).any()
    reordered = objective.draw_starts(graph, indices.flip(0), 5, 6)[1]
    assert torch.equal(reordered, latent.flip(1))
    assert len(TAPS().draw_starts(graph, indices, 5, 6)) == 1


class Residual(nn.Module):
    """A connection passes by the first ReLU, none by the second."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(9, 9) for _ in range(3)])
        self.output = nn.Linear(9, CLASSES)

    def forward(self, x):
        x = x.flatten(1)
        x = torch.relu(x + self.layers[1](torch.relu(self.layers[0](x))))
        return self.output(torch.relu(self.layers[2](x)))


def test_residual_networks_are_cut_where_nothing_passes_by():
    graph = trace(Residual().double(), INPUT)
    TAPS(classifier_relus=1).check(graph)
    with pytest.raises(ConfigurationError, match="classifier_relus is 2: the network cannot be split"):
        TAPS(classifier_relus=2).check(graph)
    net = Residual().double()
    loss, _ = evaluate(TAPS(**alone), net, make_batch(TAPS(), net))
    assert loss <= evaluate(Certified(), net, make_batch(TAPS(), net))[0]


@pytest.mark.parametrize("count", [2, 5])
def test_a_network_with_too_few_relus_is_refused(count, net):
    with pytest.raises(ConfigurationError, match=f"classifier_relus is {count}, but the network has 2 ReLUs"):
        TAPS(classifier_relus=count).check(trace(net, INPUT))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classifier_relus": -1}, "classifier_relus is -1; it must be at least 0"),
        ({"link_threshold": 0.0}, "link_threshold is 0.0; it must be above 0 and at most 1"),
        ({"link_threshold": 1.5}, "link_threshold is 1.5"),
        ({"gradient_scale": 0.0}, "gradient_scale is 0.0; it must be a finite positive number"),
        ({"gradient_scale": float("nan")}, "gradient_scale is nan"),
    ],
)
@both
def test_bad_settings_are_refused(kind, options, message):
    with pytest.raises(ConfigurationError, match=message):
        kind(**options)


def test_needs_starts(net):
    with pytest.raises(AssertionError, match="latent attack needs starts"):
        evaluate(TAPS(), net, make_batch(TAPS(), net)._replace(starts=()))


def test_the_cut_relu_is_shrunk_like_the_others(net):
    """In CTBench's TAPS for CIFAR-10 2/255 the ReLU behind which it cuts is the only one that is shrunk."""
    box = Box.around(torch.full((1, *INPUT), 0.5, dtype=torch.double), torch.tensor(0.3, dtype=torch.double))
    graph, tensors = trace(net, INPUT), dict(net.state_dict())
    relu = graph.relus[0]
    first, _ = graph.split(relu)
    before = graph.intervals(tensors, box)[graph.by_name[relu].inputs[0]]
    crossing = (before.lower < 0) & (before.upper > 0)
    assert crossing.any()
    lower, upper = IBP(relu_shrinkage=0.5).activation_bounds(first, tensors, box)
    assert torch.equal(lower, before.lower.relu())
    assert torch.equal(upper, torch.where(crossing, 0.5 * before.upper, before.upper.relu()))
