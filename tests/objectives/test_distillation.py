"""The distances of a student from its teacher against closed forms."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributions import Categorical, kl_divergence

from gls_lightning.attacks import PGD
from gls_lightning.bounds import trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives import (
    MTLIBP,
    TAPS,
    Batch,
    Certified,
    Distillation,
    FeatureDistillation,
    LogitDistillation,
    Objective,
    Standard,
)
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly, Relaxation

INPUT, EPSILON = (1, 3, 3), 0.05


def network(seed: int, features: int = 5, classes: int = 4) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Linear(9, features), nn.ReLU(), nn.Linear(features, classes)
    return nn.Sequential(nn.Flatten(), *layers).double()


STUDENT, TEACHER = network(1), network(2)


def logits(teacher: nn.Module = TEACHER, **options: Any) -> LogitDistillation:
    return LogitDistillation(teacher=teacher, teacher_weights=None, **options)


def features(teacher: nn.Module = TEACHER, **options: Any) -> FeatureDistillation:
    return FeatureDistillation(teacher=teacher, teacher_weights=None, **options)


def make_batch(objective: Objective, student: nn.Module = STUDENT, epsilon: float = EPSILON) -> Batch:
    """Samples whose boxes are not clipped."""
    torch.manual_seed(0)
    inputs = 0.3 + 0.4 * torch.rand(6, *INPUT, dtype=torch.double)
    starts = objective.draw_starts(trace(student, INPUT), torch.arange(6), 3, 0)
    radius, targets = torch.tensor(epsilon, dtype=torch.double), objective.targets(inputs)
    return Batch(inputs, torch.arange(6) % 2, radius, starts, targets=targets)


def evaluate(
    objective: Objective, student: nn.Module = STUDENT, relaxation: Relaxation | None = None, epsilon: float = EPSILON
) -> tuple[Tensor, dict[str, Tensor]]:
    batch = make_batch(objective, student, epsilon)
    return objective(trace(student, INPUT), relaxation or IBP(), student.state_dict(keep_vars=True), batch)


def divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    of_teacher, of_student = (Categorical(logits=values / temperature) for values in (teacher, student))
    return temperature**2 * kl_divergence(of_teacher, of_student).mean()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_clean_logits_are_compared_by_their_divergence(temperature: float) -> None:
    objective = logits(points="clean", temperature=temperature, weight=0.3, objective=Standard())
    loss, metrics = evaluate(objective)
    inputs = make_batch(objective).inputs
    expected = 0.3 * divergence(TEACHER(inputs), STUDENT(inputs), temperature)
    torch.testing.assert_close(metrics["distillation"], expected.detach())
    torch.testing.assert_close(loss, evaluate(Standard())[0] + expected)


def test_attacked_logits_of_a_linear_network_are_those_of_the_worst_corner() -> None:
    torch.manual_seed(1)
    student = nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).double()
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).double()
    objective = logits(teacher, temperature=2.0)
    batch = make_batch(objective, student)
    labels = batch.labels
    difference = student[1].weight[labels] - student[1].weight[1 - labels]
    corners = batch.inputs.flatten(1) - EPSILON * difference.sign()
    expected = divergence(teacher(batch.inputs), student(corners), 2.0)
    torch.testing.assert_close(evaluate(objective, student)[1]["distillation"], expected.detach())


def hidden_box(inputs: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    centre, radius = STUDENT[1](inputs.flatten(1)), epsilon * STUDENT[1].weight.abs().sum(1)
    return F.relu(centre - radius).detach(), F.relu(centre + radius).detach()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("relaxation", [IBP(), CROWNIBP(), DeepPoly()], ids=lambda r: type(r).__name__)
def test_features_are_compared_at_the_worst_mixed_bounds(alpha: float, relaxation: Relaxation) -> None:
    objective = features(alpha=alpha, weight=0.3, objective=Standard())
    batch = make_batch(objective)
    lower, upper = hidden_box(batch.inputs, EPSILON)
    if alpha < 1:
        box = batch.inputs - EPSILON, batch.inputs + EPSILON
        points = objective.attack(STUDENT, *box, batch.labels, *batch.starts)  # type: ignore[misc]
        attacked = STUDENT[:3](points).detach()
        lower, upper = (1 - alpha) * attacked + alpha * lower, (1 - alpha) * attacked + alpha * upper
    target = TEACHER[:3](batch.inputs)
    expected = 0.3 * torch.maximum((lower - target) ** 2, (upper - target) ** 2).mean()
    loss, metrics = evaluate(objective, relaxation=relaxation)
    torch.testing.assert_close(metrics["distillation"], expected.detach())
    torch.testing.assert_close(loss.detach(), (evaluate(Standard())[0] + expected).detach())


def test_bounds_are_at_least_as_far_as_any_point() -> None:
    objective = features(alpha=1.0)
    batch, found = make_batch(objective), evaluate(objective)[1]["distillation"]
    for _ in range(30):
        points = batch.inputs + EPSILON * (2 * torch.rand_like(batch.inputs) - 1)
        assert F.mse_loss(STUDENT[:3](points), batch.targets[0]) <= found


def test_features_behind_the_first_of_two_relus() -> None:
    def deep(seed: int) -> nn.Sequential:
        torch.manual_seed(seed)
        layers = nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)
        return nn.Sequential(nn.Flatten(), *layers).double()

    student, teacher = deep(1), deep(2)
    found = evaluate(features(teacher, alpha=1.0, classifier_relus=1), student, epsilon=0.0)[1]["distillation"]
    inputs = make_batch(Standard(), student).inputs
    torch.testing.assert_close(found, F.mse_loss(student[:3](inputs), teacher[:3](inputs)).detach())


@pytest.mark.parametrize(
    "objective",
    [logits(STUDENT), logits(STUDENT, points="clean"), *(features(STUDENT, alpha=alpha) for alpha in (0.0, 0.4, 1.0))],
)
def test_nothing_is_learned_from_oneself_at_radius_0(objective: Distillation) -> None:
    loss, metrics = evaluate(objective, epsilon=0.0)
    torch.testing.assert_close(metrics["distillation"], torch.zeros((), dtype=torch.double), rtol=0, atol=1e-15)
    gradients, plain = (
        torch.autograd.grad(value, list(STUDENT.parameters()))
        for value in (loss, evaluate(Certified(), epsilon=0.0)[0])
    )
    torch.testing.assert_close(gradients, plain)


@pytest.mark.parametrize("inner", [MTLIBP(alpha=0.3), TAPS(classifier_relus=0)], ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("make", [logits, lambda **options: features(alpha=0.5, **options)])
def test_the_objective_inside_is_as_without_a_teacher(inner: Objective, make: Any) -> None:
    """It gets its own starts, also inside of two teachers."""
    alone, metrics = evaluate(inner)
    once = evaluate(make(objective=inner, weight=0.3))
    twice = evaluate(make(objective=make(objective=inner, weight=0.3), weight=0.3))
    torch.testing.assert_close(once[0] - once[1]["distillation"], alone)
    torch.testing.assert_close(twice[0] - twice[1]["distillation"], alone)
    torch.testing.assert_close(twice[1]["distillation"], 2 * once[1]["distillation"])
    assert metrics.items() <= once[1].items()
    assert make(objective=inner).uses_batch_statistics == inner.uses_batch_statistics


def test_says_whether_it_needs_bounds() -> None:
    assert logits().uses_relaxation
    assert not logits(objective=Standard()).uses_relaxation
    assert not features(alpha=0.0, objective=Standard()).uses_relaxation
    assert features(alpha=0.1, objective=Standard()).uses_relaxation


def test_the_teacher_stays_as_it_was() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(9), nn.Dropout(0.5), *network(3)[1:]).double().train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    objective = logits(teacher)
    first, second = (make_batch(objective).targets[0] for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, teacher.eval()(make_batch(objective).inputs).detach())
    evaluate(objective)[0].backward()
    torch.testing.assert_close(teacher.state_dict(), before, rtol=0, atol=0)
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())
    STUDENT.zero_grad()


def test_answers_in_the_precision_of_the_images() -> None:
    objective, images = logits(network(2).float()), torch.rand(2, *INPUT)
    assert objective.targets(images)[0].dtype == torch.float32
    (exact,) = objective.targets(images.double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(objective.targets(images)[0].double(), exact, rtol=1e-5, atol=1e-6)


def test_reads_its_weights_before_it_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    save_file(TEACHER.state_dict(), path)
    objective = LogitDistillation(teacher=network(3), teacher_weights=str(path))
    torch.testing.assert_close(objective.targets(make_batch(Standard()).inputs)[0], make_batch(logits()).targets[0])
    path.unlink()  # read once
    objective.check(trace(STUDENT, INPUT))


def refuse(objective: Objective, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        objective.check(trace(STUDENT, INPUT))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    refuse(
        LogitDistillation(teacher=network(3), teacher_weights=str(path)),
        r"^teacher_weights: there is no checkpoint .*/teacher",
    )
    save_file(network(3, features=7).state_dict(), path)
    refuse(
        LogitDistillation(teacher=network(3), teacher_weights=str(path)),
        "^teacher_weights: .* is of another architecture, 3",
    )


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(x.flatten(1)).real


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            logits(network(3, classes=3)),
            r"the teacher answers with a tensor of shape \(3,\), but .* one of shape \(4,\)",
        ),
        (features(network(3, features=6), alpha=0.5), r"the teacher answers with a tensor of shape \(6,\)"),
        (features(alpha=0.5, classifier_relus=1), "classifier_relus is 1, but the network has 1 ReLUs"),
        (features(nn.Sequential(nn.Flatten(), nn.Linear(9, 4)), alpha=0.5), "the teacher: classifier_relus is 0"),
        (logits(nn.Sequential(nn.Flatten(), nn.Linear(8, 4))), r"does not take images of the shape \(1, 3, 3\)"),
        (features(nn.Sequential(Doubled(), nn.ReLU(), nn.Linear(9, 4)), alpha=0.5), "the teacher: .*fft"),
        (logits(objective=TAPS(classifier_relus=3)), "classifier_relus is 3"),
    ],
)
def test_teachers_that_do_not_fit_are_refused(objective: Objective, message: str) -> None:
    refuse(objective, message)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (logits, {"weight": -1.0}, "weight is -1.0; it must be a finite number of at least 0"),
        (logits, {"temperature": 0.0}, "temperature is 0.0; it must be positive and finite"),
        (logits, {"points": "some"}, "points is 'some'; it must be one of attacked, clean"),
        (logits, {"attack": PGD}, "attack is the class PGD; give an object"),
        (logits, {"teacher": None}, "teacher is None; it must be an object"),
        (logits, {"objective": Certified}, "objective is the class Certified"),
        (features, {"alpha": 1.1}, "alpha is 1.1; it must be between 0"),
        (features, {"alpha": 0.5, "classifier_relus": -1}, "classifier_relus is -1; it must be at least 0"),
    ],
)
def test_bad_settings_are_refused(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make(**options)
