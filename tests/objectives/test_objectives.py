import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gls_lightning.attacks import PGD
from gls_lightning.bounds import trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives import (
    CCIBP,
    EXPIBP,
    MTLIBP,
    SABR,
    STAPS,
    TAPS,
    Adversarial,
    Batch,
    Certified,
    FeatureDistillation,
    LogitDistillation,
    Objective,
    Standard,
)
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly

INPUT, CLASSES = (1, 3, 3), 4


def distillation(kind: type[LogitDistillation | FeatureDistillation], **options) -> Objective:
    torch.manual_seed(5)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, CLASSES)).double()
    return kind(teacher=teacher, teacher_weights=None, weight=0.7, attack=PGD(steps=1, restarts=1), **options)


OBJECTIVES = {
    "Standard": Standard(),
    "Certified": Certified(),
    "mixed": Certified(natural_weight=0.3),
    "fused": Certified(loss_fusion=True),
    "Adversarial": Adversarial(),
    "MTLIBP": MTLIBP(alpha=0.3, attack=PGD(steps=2, restarts=3), natural_weight=0.2),
    "CCIBP": CCIBP(alpha=0.3, attack=PGD(steps=2, restarts=3), attack_scale=2.1),
    "EXPIBP": EXPIBP(alpha=0.3, attack=PGD(steps=2, restarts=3)),
    "EXPIBP of the batch": EXPIBP(alpha=0.3, attack=PGD(steps=2, restarts=3), of_batch=True),
    "SABR": SABR(attack=PGD(steps=2, restarts=3)),
    "SABR of epsilon": SABR(attack=PGD(steps=2), subselection_ratio=0.7, radius="epsilon", natural_weight=0.2),
    # Behind the only cut of this network margins are linear, so the attacks end in corners. There, and without a scale,
    # the gradient of the link is the true one; test_taps.py has the other cuts.
    "TAPS": TAPS(classifier_relus=0, gradient_scale=1.0),
    "STAPS": STAPS(attack=PGD(steps=2, restarts=3), classifier_relus=0, gradient_scale=1.0, of_batch=False),
    "LogitDistillation": distillation(LogitDistillation, temperature=2.0),
    "LogitDistillation of clean images": distillation(LogitDistillation, points="clean", objective=Standard()),
    "FeatureDistillation": distillation(FeatureDistillation, alpha=0.4),
    "FeatureDistillation of bounds": distillation(FeatureDistillation, alpha=1.0),
}


@pytest.fixture(params=OBJECTIVES)
def objective(request) -> Objective:
    return OBJECTIVES[request.param]


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    inputs = 0.2 + 0.6 * torch.rand(6, *INPUT, dtype=torch.double)
    return Batch(inputs, torch.arange(6) % CLASSES, torch.tensor(0.05, dtype=torch.double))


def network(*hidden: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    features = 5 if hidden else 9
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(features, CLASSES)).double()


@pytest.fixture
def relu_network() -> nn.Sequential:
    return network(nn.Linear(9, 5), nn.BatchNorm1d(5), nn.ReLU())


def with_starts(batch, objective, graph):
    starts = objective.draw_starts(graph, torch.arange(6), 0)
    return batch._replace(starts=starts, targets=objective.targets(batch.inputs))


def evaluate(objective, net, batch, relaxation=None, tensors=None):
    tensors = dict(net.state_dict(keep_vars=True)) if tensors is None else tensors
    graph = trace(net, INPUT)
    return objective(graph, relaxation or IBP(), tensors, with_starts(batch, objective, graph))


def test_standard_is_the_cross_entropy(batch, relu_network):
    loss, metrics = evaluate(Standard(), relu_network, batch)
    logits = relu_network.eval()(batch.inputs)
    torch.testing.assert_close(loss, F.cross_entropy(logits, batch.labels))
    assert metrics == {"natural_accuracy": (logits.argmax(1) == batch.labels).double().mean()}


@pytest.mark.parametrize("natural_weight", [0.0, 0.3, 1.0])
def test_certified_on_a_linear_network_is_the_closed_form(batch, natural_weight):
    # the box is not clipped; the worst difference of a linear network is its value minus epsilon times the l1 norm
    net = network()
    weight, bias = net[1].weight, net[1].bias
    rows = [[i for i in range(CLASSES) if i != y] for y in batch.labels.tolist()]
    differences = weight[batch.labels][:, None] - weight[torch.tensor(rows)]
    offsets = bias[batch.labels][:, None] - bias[torch.tensor(rows)]
    lower = (differences @ batch.inputs.flatten(1)[..., None])[..., 0] + offsets - 0.05 * differences.abs().sum(-1)
    robust = (1 + (-lower).exp().sum(1)).log().mean()
    natural = F.cross_entropy(net(batch.inputs), batch.labels)

    loss, metrics = evaluate(Certified(natural_weight=natural_weight), net, batch)
    torch.testing.assert_close(loss, (1 - natural_weight) * robust + natural_weight * natural)
    assert metrics["certified_accuracy"] == (lower > 0).all(1).double().mean()
    assert metrics["natural_accuracy"] == (net(batch.inputs).argmax(1) == batch.labels).double().mean()


def test_certified_at_radius_zero_is_the_cross_entropy(batch, relu_network):
    loss, metrics = evaluate(Certified(), relu_network, batch._replace(epsilon=torch.zeros(())))
    torch.testing.assert_close(loss, evaluate(Standard(), relu_network, batch)[0])
    assert metrics["certified_accuracy"] == metrics["natural_accuracy"]


def test_certified_bounds_the_loss_of_every_point_in_the_box(batch, relu_network):
    relu_network.eval()
    loss, _ = evaluate(Certified(), relu_network, batch, CROWNIBP())
    for _ in range(50):
        x = batch.inputs + batch.epsilon * (2 * torch.rand_like(batch.inputs) - 1)
        assert F.cross_entropy(relu_network(x), batch.labels) <= loss + 1e-12


@pytest.mark.parametrize("relaxation", [IBP(), CROWNIBP(), DeepPoly()], ids=lambda r: type(r).__name__)
def test_gradient_against_finite_differences(objective, relaxation, batch, relu_network):
    graph, tensors = trace(relu_network, INPUT), dict(relu_network.state_dict())
    names = [name for name, _ in relu_network.named_parameters()]
    batch = with_starts(batch, objective, graph)

    def loss(*params):
        return objective(graph, relaxation, {**tensors, **dict(zip(names, params, strict=True))}, batch)[0]

    params = tuple(tensors[name].clone().requires_grad_() for name in names)
    assert torch.autograd.gradcheck(loss, params, eps=1e-7, atol=1e-6)


def test_uses_the_statistics_that_it_is_given(objective, batch, relu_network):
    graph, tensors = trace(relu_network, INPUT), dict(relu_network.state_dict())
    own = graph.batch_statistics(tensors, batch.inputs)
    assert own
    assert (
        evaluate(objective, relu_network, batch, tensors=tensors | own)[0]
        != evaluate(objective, relu_network, batch)[0]
    )


def test_pure(objective, batch, relu_network):
    before = {name: tensor.clone() for name, tensor in relu_network.state_dict().items()}
    state = torch.get_rng_state()
    first, metrics = evaluate(objective, relu_network, batch)
    with torch.no_grad():
        second, _ = evaluate(objective, relu_network, batch)
    assert torch.equal(first, second)
    assert first.requires_grad
    assert not second.requires_grad
    assert all(value.shape == () for value in (first, *metrics.values()))
    assert not any(value.requires_grad for value in metrics.values())
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in relu_network.state_dict().items())
    assert all(p.grad is None for p in relu_network.parameters())


def test_vmap_over_parameters_equals_the_loop(objective, batch, relu_network):
    graph, tensors = trace(relu_network, INPUT), dict(relu_network.state_dict())
    params = {name: p.detach() for name, p in relu_network.named_parameters()}
    torch.manual_seed(2)
    stacked = {name: p + 0.1 * torch.randn(3, *p.shape, dtype=p.dtype) for name, p in params.items()}
    batch = with_starts(batch, objective, graph)

    def evaluate_member(member):
        return objective(graph, CROWNIBP(), {**tensors, **member}, batch)

    losses, metrics = torch.func.vmap(evaluate_member)(stacked)
    for i in range(3):
        loss, member_metrics = evaluate_member({name: p[i] for name, p in stacked.items()})
        torch.testing.assert_close(losses[i], loss)
        torch.testing.assert_close({name: values[i] for name, values in metrics.items()}, member_metrics)


def test_only_certified_uses_the_relaxation():
    assert not Standard.uses_relaxation
    assert Certified.uses_relaxation


def test_starts_are_drawn_for_the_attack_of_the_objective():
    class WithAttack(Standard):
        attack = PGD(restarts=2)

    graph, indices = trace(network(), INPUT), torch.tensor([5, 3])
    assert Standard().draw_starts(graph, indices, 1, 2) == ()
    (starts,) = WithAttack().draw_starts(graph, indices, 1, 2)
    assert torch.equal(starts, PGD(restarts=2).draw_starts(INPUT, indices, 1, 2))


@pytest.mark.parametrize("natural_weight", [-0.1, 1.1, float("nan")])
def test_a_weight_outside_the_unit_interval_is_refused(natural_weight):
    with pytest.raises(ConfigurationError, match="natural_weight is"):
        Certified(natural_weight=natural_weight)
