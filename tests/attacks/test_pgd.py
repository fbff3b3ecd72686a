from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from gls_lightning.attacks import PGD, margin
from gls_lightning.errors import ConfigurationError

BATCH, INPUT, CLASSES = 6, (1, 4, 4), 3


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, CLASSES)).double()


@pytest.fixture
def problem():
    """Lower and upper corners (some of zero width), labels."""
    torch.manual_seed(0)
    x = torch.rand(BATCH, *INPUT, dtype=torch.double)
    radius = 0.3 * torch.rand(BATCH, *INPUT, dtype=torch.double)
    radius[0] = 0
    radius[1, :, 2:] = 0
    return (x - radius).clamp(0, 1), (x + radius).clamp(0, 1), torch.arange(BATCH) % CLASSES


def attacked(attack: PGD, logits, lower, upper, labels):
    return attack(logits, lower, upper, labels, attack.draw_starts(INPUT, torch.arange(BATCH), 0))


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_finds_the_worst_corner_of_a_linear_network(problem, loss):
    lower, upper, labels = problem
    torch.manual_seed(1)
    weight = torch.randn(2, 16, dtype=torch.double)
    labels = labels % 2
    difference = (weight[labels] - weight[1 - labels]).reshape(BATCH, *INPUT)
    corner = torch.where(difference > 0, lower, upper)
    found = attacked(PGD(steps=9, loss=loss), lambda x: x.flatten(1) @ weight.T, lower, upper, labels)
    torch.testing.assert_close(found, corner, rtol=0, atol=1e-15)


def test_one_step_on_a_linear_network(problem):
    lower, upper, labels = problem
    slope = torch.linspace(-1, 1, 16, dtype=torch.double).reshape(INPUT)
    attack = PGD(steps=1, step_size=0.5, loss="margin")
    starts = attack.draw_starts(INPUT, torch.arange(BATCH), 0)

    def logits(x):
        score = (x * slope).flatten(1).sum(1)
        return torch.stack([-score, -score, 3 - score], 1).scatter(1, labels[:, None], 0.0)

    found = attack(logits, lower, upper, labels, starts)
    position = (starts[0].double() - 0.25 * slope.sign()).clamp(0, 1)
    torch.testing.assert_close(found, lower + position * (upper - lower))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("targeted", [False, True])
def test_stays_in_the_box_exactly(problem, dtype, targeted):
    lower, upper, labels = (t.to(dtype) if t.is_floating_point() else t for t in problem)
    attack = PGD(steps=3, restarts=2, step_size=0.7, targeted=targeted)
    found = attacked(attack, network(0).to(dtype), lower, upper, labels)
    assert found.dtype == dtype
    assert (lower <= found).all()
    assert (found <= upper).all()
    assert torch.equal(found[0], lower[0])
    assert not torch.equal(found[2], lower[2])


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_more_steps_and_restarts_are_never_worse(problem, loss):
    lower, upper, labels = problem
    net = network(0)
    reached = []
    for steps, restarts in [(1, 1), (4, 1), (9, 1), (9, 4)]:
        attack = PGD(steps=steps, restarts=restarts, step_size=0.25, loss=loss)
        logits = net(attacked(attack, net, lower, upper, labels))
        losses = {"cross_entropy": F.cross_entropy(logits, labels, reduction="none"), "margin": -margin(logits, labels)}
        reached.append(losses[loss])
    assert (torch.stack(reached).diff(dim=0) >= 0).all()
    assert reached[-1].sum() > reached[0].sum()


def test_beats_random_search(problem):
    lower, upper, labels = problem
    net = network(3)
    found = margin(net(attacked(PGD(steps=20, loss="margin"), net, lower, upper, labels)), labels)
    torch.manual_seed(0)
    samples = lower + torch.rand(500, BATCH, *INPUT) * (upper - lower)
    best = torch.stack([margin(net(s), labels) for s in samples]).amin(0)
    assert (found <= best + 1e-12).all()


def test_result_of_a_sample_does_not_depend_on_its_batch(problem):
    lower, upper, labels = problem
    attack, net = PGD(steps=5), network(0)
    starts = attack.draw_starts(INPUT, torch.arange(BATCH), 0)
    together = attack(net, lower, upper, labels, starts)
    alone = attack(net, lower[3:4], upper[3:4], labels[3:4], starts[:, 3:4])
    torch.testing.assert_close(together[3:4], alone, rtol=0, atol=1e-12)


def test_is_a_constant_that_leaves_no_gradient(problem):
    lower, upper, labels = problem
    net = network(0)
    found = attacked(PGD(steps=2), net, lower, upper, labels)
    assert not found.requires_grad
    assert all(p.grad is None for p in net.parameters())
    with torch.no_grad():
        assert torch.equal(found, attacked(PGD(steps=2), net, lower, upper, labels))


@pytest.mark.parametrize("targeted", [False, True])
def test_vmap_over_parameters_equals_the_loop(problem, targeted):
    lower, upper, labels = problem
    nets = [network(seed) for seed in range(3)]
    stacked, _ = stack_module_state(nets)
    attack = PGD(steps=4, restarts=2, targeted=targeted)
    starts = attack.draw_starts(INPUT, torch.arange(BATCH), 0)
    found = vmap(lambda p: attack(partial(functional_call, nets[0], p), lower, upper, labels, starts))(stacked)
    for net, points in zip(nets, found, strict=True):
        torch.testing.assert_close(points, attacked(attack, net, lower, upper, labels), rtol=0, atol=1e-12)


def test_constant_inside_a_functional_gradient(problem):
    lower, upper, labels = problem
    net = network(0)
    params = {name: p.detach() for name, p in net.named_parameters()}

    def loss(p):
        logits = partial(functional_call, net, p)
        return F.cross_entropy(logits(attacked(PGD(steps=2), logits, lower, upper, labels)), labels)

    found = attacked(PGD(steps=2), net, lower, upper, labels)
    F.cross_entropy(net(found), labels).backward()
    for name, gradient in torch.func.grad(loss)(params).items():
        torch.testing.assert_close(gradient, net.get_parameter(name).grad)


def test_compiles_as_one_graph(problem):
    lower, upper, labels = problem
    net, attack = network(0), PGD(steps=3)
    starts = attack.draw_starts(INPUT, torch.arange(BATCH), 0)
    compiled = torch.compile(lambda: attack(net, lower, upper, labels, starts), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(), attack(net, lower, upper, labels, starts))


@pytest.mark.parametrize(
    ("steps", "sizes"),
    [
        (1, {0: 2.0}),
        (10, {0: 0.25, 9: 0.25}),
        (15, {9: 0.25, 10: 0.05, 14: 0.05}),
        (40, {27: 0.25, 28: 0.025, 39: 0.025}),
        (100, {49: 0.25, 50: 0.025, 80: 0.0025, 90: 0.00025}),
    ],
)
def test_step_sizes_follow_the_published_schedule(steps, sizes):
    schedule = PGD(steps=steps).step_sizes()
    assert len(schedule) == steps
    assert {step: schedule[step] for step in sizes} == pytest.approx(sizes)


@pytest.mark.parametrize(
    ("decay", "steps", "counts"),
    [
        ("none", 60, {1.0: 60}),
        ("sabr", 8, {1.0: 4, 0.1: 2, 0.01: 1, 0.001: 1}),
        ("sabr", 10, {1.0: 5, 0.1: 3, 0.01: 1, 0.001: 1}),
        ("sabr", 1, {1.0: 1}),
        ("taps", 8, {1.0: 8}),
        ("taps", 10, {1.0: 7, 0.2: 3}),
        ("taps", 60, {1.0: 24, 0.2: 18, 0.04: 18}),
        ("taps", 100, {1.0: 30, 0.2: 30, 0.04: 20, 0.008: 20}),
    ],
)
def test_other_schedules_shrink_the_steps_as_published(decay, steps, counts):
    schedule = PGD(steps=steps, step_size=1.0, step_decay=decay).step_sizes()
    assert schedule == pytest.approx([size for size, count in counts.items() for _ in range(count)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"restarts": 0}, "restarts is 0"),
        ({"step_size": 0.0}, "step_size is 0.0"),
        ({"step_size": float("nan")}, "step_size is nan"),
        ({"loss": "hinge"}, "one of cross_entropy, margin"),
        ({"step_decay": "cosine"}, "step_decay is 'cosine'; it must be one of ctbench, sabr, taps, none"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        PGD(**arguments)


def climbed_by_hand(net, lower, upper, start, size, steps, climb):
    """The points of one restart of one sample that climbs ``climb(logits)``."""
    points = [lower + start * (upper - lower)]
    for _ in range(steps):
        x = points[-1].detach().requires_grad_()
        (slope,) = torch.autograd.grad(climb(net(x[None])[0]), x)
        moved = points[-1] + size * (upper - lower) / 2 * slope.sign()
        points.append(torch.minimum(torch.maximum(moved, lower), upper))
    return points


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_targeted_equals_a_loop_by_hand(problem, loss):
    net, attack = network(2), PGD(steps=3, restarts=2, step_size=0.4, loss=loss, targeted=True)
    starts = attack.draw_starts(INPUT, torch.arange(BATCH), 0)
    found = attack(net, *problem, starts)
    losses = {"cross_entropy": lambda z, y: -z.log_softmax(0)[y], "margin": lambda z, y: -margin(z[None], y[None])[0]}
    towards = {"cross_entropy": lambda z, y, t: z.log_softmax(0)[t], "margin": lambda z, y, t: z[t] - z[y]}
    for i, (lower, upper, label) in enumerate(zip(*problem, strict=True)):
        points = []
        for target in set(range(CLASSES)) - {label.item()}:
            climb = partial(towards[loss], y=label, t=target)
            for start in starts[:, i].double():
                points += climbed_by_hand(net, lower, upper, start, 0.4, 3, climb)
        values = [losses[loss](net(x[None])[0], label).item() for x in points]
        assert losses[loss](net(found[i : i + 1])[0], label).item() == pytest.approx(max(values), abs=1e-12)


def test_targeted_leaves_the_hill_of_the_nearest_class():
    """The class that leads at the start has a low hill at one end, another one a higher hill at the other end."""

    def logits(x):
        return torch.cat([torch.zeros_like(x), 0.5 + 0.1 * x, -2 * x - 1], dim=1)

    box, labels = (-torch.ones(1, 1), torch.ones(1, 1)), torch.tensor([0])
    ends = [PGD(loss="margin", targeted=t)(logits, *box, labels, torch.full((1, 1, 1), 0.6)) for t in (False, True)]
    assert torch.cat(ends).flatten().tolist() == [1, -1]


def test_targeted_with_two_classes_is_the_margin_attack(problem):
    lower, upper, labels = problem
    net = nn.Sequential(network(0), nn.Linear(CLASSES, 2)).double()
    ends = [attacked(PGD(loss="margin", targeted=t), net, lower, upper, labels % 2) for t in (False, True)]
    assert torch.equal(*ends)


def others_of(label: int) -> list[int]:
    return [i for i in range(CLASSES) if i != label]


def starts_of(attack: PGD):
    return attack.draw_starts(INPUT, torch.arange(BATCH), 0)


def test_margin_points_on_a_linear_network_are_corners(problem):
    lower, upper, labels = problem
    torch.manual_seed(1)
    weight = torch.randn(CLASSES, 16, dtype=torch.double)
    attack = PGD(steps=9)
    found = attack.margin_points(lambda x: x.flatten(1) @ weight.T, *problem, starts_of(attack), CLASSES)
    for i, label in enumerate(labels.tolist()):
        for point, other in zip(found[i], others_of(label), strict=True):
            lead = (weight[other] - weight[label]).reshape(INPUT)
            torch.testing.assert_close(point, torch.where(lead > 0, upper[i], lower[i]), rtol=0, atol=1e-15)


@pytest.mark.parametrize("options", [{}, {"loss": "margin", "targeted": True}])
def test_margin_points_are_those_of_an_attack_for_each_class(problem, options):
    lower, upper, labels = problem
    net, attack = network(2), PGD(steps=4, restarts=3, step_size=0.4, **options)
    starts = starts_of(attack)
    found = attack.margin_points(net, lower, upper, labels, starts, CLASSES)
    single = PGD(steps=4, restarts=3, step_size=0.4, loss="margin")
    assert not found.requires_grad
    for i, label in enumerate(labels.tolist()):
        for k, other in enumerate(others_of(label)):
            sample = slice(i, i + 1)
            expected = single(
                lambda x, pair=(label, other): net(x)[:, pair],
                lower[sample],
                upper[sample],
                torch.zeros(1, dtype=torch.long),
                starts[:, sample],
            )
            torch.testing.assert_close(found[sample, k], expected, rtol=0, atol=1e-12)


def test_margin_points_under_vmap_over_parameters_equal_the_loop(problem):
    nets = [network(seed) for seed in range(3)]
    stacked, _ = stack_module_state(nets)
    attack = PGD(steps=4, restarts=2)
    starts = starts_of(attack)
    found = vmap(lambda p: attack.margin_points(partial(functional_call, nets[0], p), *problem, starts, CLASSES))(
        stacked
    )
    for net, points in zip(nets, found, strict=True):
        torch.testing.assert_close(points, attack.margin_points(net, *problem, starts, CLASSES), rtol=0, atol=1e-12)


def test_margin_against_a_loop():
    torch.manual_seed(0)
    logits = torch.randn(20, 5)
    labels = torch.arange(20) % 5
    for row, label, value in zip(logits.tolist(), labels.tolist(), margin(logits, labels).tolist(), strict=True):
        assert value == pytest.approx(min(row[label] - other for i, other in enumerate(row) if i != label))


def test_margin_of_equal_logits_is_zero():
    assert torch.equal(margin(torch.ones(3, 4), torch.tensor([0, 1, 3])), torch.zeros(3))
