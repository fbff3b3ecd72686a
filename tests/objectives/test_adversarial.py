import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gls_lightning.attacks import PGD, Attack
from gls_lightning.bounds import trace
from gls_lightning.estimators import RGS, Step
from gls_lightning.objectives import Adversarial, Batch, Standard
from gls_lightning.relaxations import IBP

INPUT, CLASSES, EPSILON = (1, 3, 3), 4, 0.1
INDICES = torch.arange(20, 26)


def linear_network(classes: int) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, classes)).double()


@pytest.fixture
def relu_network() -> nn.Sequential:
    torch.manual_seed(1)
    layers = nn.Linear(9, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, CLASSES)
    return nn.Sequential(nn.Flatten(), *layers).double().eval()


def make_batch(objective: Adversarial, graph, key: int = 0, epsilon: float = EPSILON) -> Batch:
    """Samples whose boxes are not clipped."""
    torch.manual_seed(0)
    inputs = 0.2 + 0.6 * torch.rand(6, *INPUT, dtype=torch.double)
    starts = objective.draw_starts(graph, INDICES, 3, key)
    return Batch(inputs, torch.arange(6) % graph.num_outputs, torch.tensor(epsilon, dtype=torch.double), starts)


def evaluate(objective, net, batch, **tensors):
    return objective(trace(net, INPUT), IBP(), {**net.state_dict(keep_vars=True), **tensors}, batch)


def attacked_by_hand(net, batch: Batch, steps: int, size: float) -> torch.Tensor:
    """The best point of all steps and restarts, one sample and one restart at a time."""
    found = []
    for x, y, starts in zip(batch.inputs, batch.labels, batch.starts[0].transpose(0, 1).double(), strict=True):
        visited = []
        for start in starts:
            point = x + EPSILON * (2 * start - 1)
            for step in range(steps + 1):
                point = point.detach().requires_grad_()
                loss = F.cross_entropy(net(point[None]), y[None])
                visited.append((loss.item(), point.detach()))
                if step < steps:
                    (slope,) = torch.autograd.grad(loss, point)
                    point = torch.minimum(torch.maximum(point + size * slope.sign(), x - EPSILON), x + EPSILON)
        found.append(max(visited, key=lambda pair: pair[0])[1])
    return torch.stack(found)


@pytest.mark.parametrize(("steps", "restarts"), [(1, 1), (4, 1), (5, 3)])
def test_equals_a_loop_by_hand(relu_network, steps, restarts):
    objective = Adversarial(attack=PGD(steps=steps, restarts=restarts, step_size=0.5))
    batch = make_batch(objective, trace(relu_network, INPUT))
    points = attacked_by_hand(relu_network, batch, steps, EPSILON / 2)
    logits = relu_network(points)
    expected = F.cross_entropy(logits, batch.labels)
    natural = relu_network(batch.inputs).argmax(1) == batch.labels

    loss, metrics = evaluate(objective, relu_network, batch)
    torch.testing.assert_close(loss, expected)
    assert metrics == {
        "natural_accuracy": natural.double().mean(),
        "adversarial_accuracy": (natural & (logits.argmax(1) == batch.labels)).double().mean(),
    }
    params = list(relu_network.parameters())
    torch.testing.assert_close(torch.autograd.grad(loss, params), torch.autograd.grad(expected, params))


def test_on_a_linear_network_of_two_classes_it_is_the_closed_form():
    net, objective = linear_network(classes=2), Adversarial()
    batch = make_batch(objective, trace(net, INPUT))
    difference = net[1].weight[batch.labels] - net[1].weight[1 - batch.labels]
    point = batch.inputs - EPSILON * difference.sign().reshape(batch.inputs.shape)
    logits = net(point)
    margin = net(batch.inputs).gather(1, batch.labels[:, None]) - net(batch.inputs).gather(1, 1 - batch.labels[:, None])
    lowest = margin.squeeze(1) - EPSILON * difference.abs().sum(1)

    loss, metrics = evaluate(objective, net, batch)
    torch.testing.assert_close(loss, F.cross_entropy(logits, batch.labels))
    torch.testing.assert_close(loss, F.softplus(-lowest).mean())
    assert metrics["adversarial_accuracy"] == (lowest > 0).double().mean()


def test_at_radius_zero_it_is_standard(relu_network):
    objective = Adversarial()
    batch = make_batch(objective, trace(relu_network, INPUT), epsilon=0.0)
    (loss, metrics), (expected, natural) = (evaluate(o, relu_network, batch) for o in (objective, Standard()))
    assert torch.equal(loss, expected)
    assert metrics == {**natural, "adversarial_accuracy": natural["natural_accuracy"]}
    params = list(relu_network.parameters())
    torch.testing.assert_close(torch.autograd.grad(loss, params), torch.autograd.grad(expected, params))


def test_larger_than_the_loss_of_random_points(relu_network):
    objective = Adversarial()
    batch = make_batch(objective, trace(relu_network, INPUT))
    loss, _ = evaluate(objective, relu_network, batch)
    for _ in range(50):
        x = batch.inputs + EPSILON * (2 * torch.rand_like(batch.inputs) - 1)
        assert F.cross_entropy(relu_network(x), batch.labels) <= loss


def test_boxes_end_where_images_do(relu_network):
    objective = Adversarial()
    batch = make_batch(objective, trace(relu_network, INPUT))._replace(epsilon=torch.tensor(5.0))
    unit = torch.zeros_like(batch.inputs), torch.ones_like(batch.inputs)
    points = objective.attack(relu_network, *unit, batch.labels, *batch.starts)
    expected = F.cross_entropy(relu_network(points), batch.labels)
    torch.testing.assert_close(evaluate(objective, relu_network, batch)[0], expected)


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad])
def test_deterministic_given_the_key(relu_network, context):
    objective = Adversarial(attack=PGD(steps=2))
    graph = trace(relu_network, INPUT)
    batches = [make_batch(objective, graph, key) for key in (0, 0, 1)]
    with context():
        losses = [evaluate(objective, relu_network, batch)[0] for batch in batches]
    assert torch.equal(losses[0], losses[1])
    assert losses[0] != losses[2]


def test_the_attack_sees_the_statistics_that_it_is_given(relu_network):
    """With the statistics of the batch it finds what it finds on a network that holds them."""
    objective = Adversarial(attack=PGD(steps=3, restarts=2))
    graph = trace(relu_network, INPUT)
    batch = make_batch(objective, graph)
    statistics = graph.batch_statistics(dict(relu_network.state_dict()), batch.inputs)
    assert statistics
    loss, _ = evaluate(objective, relu_network, batch, **statistics)
    assert loss != evaluate(objective, relu_network, batch)[0]
    relu_network.load_state_dict(statistics, strict=False)
    torch.testing.assert_close(loss, evaluate(objective, relu_network, batch)[0])


class Fixed(Attack):
    """Finds the points that it is given."""

    def __init__(self, points: torch.Tensor) -> None:
        self.points = points

    def __call__(self, logits, lower, upper, labels, starts):
        return self.points


def test_gradient_against_finite_differences_at_fixed_points(relu_network):
    objective = Adversarial(attack=PGD(steps=4))
    graph = trace(relu_network, INPUT)
    batch = make_batch(objective, graph)
    names = [name for name, _ in relu_network.named_parameters()]
    tensors = dict(relu_network.state_dict())

    def loss(objective, params):
        return objective(graph, IBP(), {**tensors, **dict(zip(names, params, strict=True))}, batch)[0]

    params = tuple(tensors[name].clone().requires_grad_() for name in names)
    points = objective.attack(
        relu_network, batch.inputs - EPSILON, batch.inputs + EPSILON, batch.labels, batch.starts[0]
    )
    fixed = Adversarial(attack=Fixed(points))
    assert torch.autograd.gradcheck(lambda *p: loss(fixed, p), params, eps=1e-7, atol=1e-6)
    gradient, expected = (torch.autograd.grad(loss(o, params), params) for o in (objective, fixed))
    torch.testing.assert_close(gradient, expected)


def test_no_gradient_through_the_points(relu_network):
    """Though an attack that a user wrote forgets to detach them."""
    tensors = dict(relu_network.state_dict(keep_vars=True))
    batch = make_batch(Adversarial(), trace(relu_network, INPUT))
    points = batch.inputs + 0.05 * tensors["1.bias"].sum()
    gradients = [
        torch.autograd.grad(evaluate(Adversarial(attack=Fixed(p)), relu_network, batch)[0], tensors["1.bias"])
        for p in (points, points.detach())
    ]
    torch.testing.assert_close(*gradients)


@pytest.fixture
def loss_of(relu_network):
    """The objective as a function of the parameters, with the statistics that BatchNorm takes in training."""
    objective = Adversarial(attack=PGD(steps=4, restarts=2))
    graph = trace(relu_network, INPUT)
    batch, fixed = make_batch(objective, graph), dict(relu_network.state_dict())

    def loss(params):
        tensors = {**fixed, **params}
        return objective(graph, IBP(), {**tensors, **graph.batch_statistics(tensors, batch.inputs)}, batch)

    return loss


def test_vmap_over_parameters_equals_the_loop(loss_of, relu_network):
    torch.manual_seed(2)
    stacked = {
        name: p.detach() + 0.1 * torch.randn(3, *p.shape, dtype=p.dtype) for name, p in relu_network.named_parameters()
    }
    members = [{name: p[i] for name, p in stacked.items()} for i in range(3)]
    losses, metrics = torch.func.vmap(loss_of)(stacked)
    gradients, _ = torch.func.vmap(torch.func.grad(loss_of, has_aux=True))(stacked)
    for i, member in enumerate(members):
        params = {name: p.clone().requires_grad_() for name, p in member.items()}
        loss, member_metrics = loss_of(params)
        torch.testing.assert_close(losses[i], loss)
        assert all(metrics[name][i] == value for name, value in member_metrics.items())
        expected = torch.autograd.grad(loss, list(params.values()), materialize_grads=True)
        torch.testing.assert_close([gradients[name][i] for name in params], list(expected))
    with torch.no_grad():
        torch.testing.assert_close(torch.func.vmap(loss_of)(stacked)[0], losses)


def test_in_rgs_without_noise_it_is_the_gradient_itself(loss_of, relu_network):
    params = dict(relu_network.named_parameters())
    expected, metrics = loss_of(params)
    estimate = RGS(population_size=2, sigma=0.0)(loss_of, params, Step(0, 0))
    torch.testing.assert_close(estimate.loss, expected)
    assert estimate.metrics == metrics
    gradients = [torch.autograd.grad(loss, list(params.values())) for loss in (estimate.loss, expected)]
    torch.testing.assert_close(*gradients)


def test_bounds_nothing_and_needs_starts(relu_network):
    assert not Adversarial.uses_relaxation
    assert (Adversarial().attack.steps, Adversarial().attack.restarts) == (10, 3)
    batch = make_batch(Adversarial(), trace(relu_network, INPUT))
    with pytest.raises(AssertionError, match="needs starts"):
        evaluate(Adversarial(), relu_network, batch._replace(starts=()))
