"""How many members of a population are evaluated together."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gls_lightning.attacks import PGD
from gls_lightning.bounds import Tensors, trace
from gls_lightning.bounds.operations import BatchNorm
from gls_lightning.estimators import PGPE, RGS, Step
from gls_lightning.objectives import (
    L1,
    TAPS,
    Adversarial,
    Batch,
    Certified,
    Evaluation,
    Objective,
    Regularizer,
    ShiRegularizer,
    Standard,
)
from gls_lightning.relaxations import IBP, AlphaCROWN, DeepPoly, HBox, Relaxation
from gls_lightning.training.loss import TrainingLoss, parameter_names


def loss(
    relaxation: Relaxation, samples: int, width: int = 8, objective: Objective | None = None, device: str = "cpu"
) -> TrainingLoss:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))
    graph, params = trace(network, (6,)), dict(network.named_parameters())
    batch = Batch(torch.rand(samples, 6, device=device), torch.zeros(samples, dtype=torch.long), torch.tensor(0.1))
    return TrainingLoss(graph, relaxation, objective or Certified(), params, {n: n for n in params}, batch)


def test_small_problems_are_taken_together_and_large_ones_one_by_one() -> None:
    at_once = [loss(DeepPoly(), samples).members_at_once for samples in (1, 10, 100, 10**4, 10**6)]
    assert at_once == sorted(at_once, reverse=True)
    assert at_once[0] > 100
    assert at_once[-1] == 1
    assert loss(DeepPoly(), 10, width=64).members_at_once < at_once[1]


@pytest.mark.parametrize("relaxation", [DeepPoly(), IBP()])
def test_a_member_fits_the_memory_budget(relaxation: Relaxation, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = loss(relaxation, 1000, device="meta").members_at_once
    monkeypatch.setattr(relaxation, "memory_budget", 0.4)  # a tenth of the default without a GPU
    assert loss(relaxation, 1000, device="meta").members_at_once == pytest.approx(whole / 10, abs=1)


def test_points_behind_a_cut_count() -> None:
    """With 3 classes TAPS evaluates 2 points of a sample at once, where adversarial training evaluates 1."""
    one, two = (
        loss(IBP(), 1000, objective=objective, device="meta").members_at_once for objective in (Adversarial(), TAPS())
    )
    assert two == pytest.approx(one / 2, abs=1)


def test_a_relaxation_that_vmap_cannot_take_is_looped() -> None:
    assert loss(DeepPoly(skip_ibp_stable=True), 1).members_at_once == 1


def test_the_fixed_tensors_stay_and_the_given_ones_count() -> None:
    evaluate = loss(IBP(), 5, objective=Standard())
    params: dict[str, Any] = {name: torch.zeros_like(p) for name, p in evaluate.tensors.items()}
    value, metrics = evaluate(params)
    assert value.item() == pytest.approx(torch.tensor(3.0).log().item())
    assert metrics.keys() == {"natural_accuracy"}
    evaluate.names = {name: name for name in evaluate.names if name.startswith("0")}
    fixed, _ = evaluate(params)
    assert fixed.item() != pytest.approx(value.item())


def with_batch_norm(
    relaxation: Relaxation, objective: Objective, regularizers: Sequence[Regularizer] = ()
) -> tuple[TrainingLoss, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.BatchNorm2d(3), nn.ReLU()),
        *(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)),
    )
    graph, params = trace(network, (1, 8, 8)), dict(network.named_parameters())
    tensors, starts = params | dict(network.named_buffers()), objective.draw_starts(graph, torch.arange(6), 0, 0)
    batch = Batch(torch.rand(6, 1, 8, 8), torch.arange(6) % 3, torch.tensor(0.05), starts, progress=0.5)
    names = parameter_names(network, tensors)
    return TrainingLoss(graph, relaxation, objective, tensors, names, batch, regularizers), params


REGULARIZERS = L1(weight=1e-3), ShiRegularizer(tolerance=0.9)


def test_regularizers_are_added_and_see_the_statistics_and_parameters_that_the_loss_sees() -> None:
    plain, params = with_batch_norm(IBP(), Certified())
    weights = list(params.values())
    regularized, _ = with_batch_norm(IBP(), Certified(), REGULARIZERS)
    for scale in (1.0, 2.0):
        member = {name: scale * p for name, p in params.items()}
        tensors = {**plain.tensors, **member}
        tensors |= plain.graph.batch_statistics(tensors, plain.batch.inputs)
        terms = [term(plain.graph, tensors, plain.batch, member) for term in REGULARIZERS]
        assert all(term > 0 for term in terms)
        (loss, metrics), (expected, expected_metrics) = regularized(member), plain(member)
        torch.testing.assert_close(loss, expected + terms[0] + terms[1])
        assert metrics == {**expected_metrics, "l1": terms[0], "shi": terms[1]}
        assert not any(metric.requires_grad for metric in metrics.values())
        gradients = [
            torch.autograd.grad(v, weights, retain_graph=True, materialize_grads=True) for v in (loss, expected, *terms)
        ]
        for total, *summands in zip(*gradients, strict=True):
            torch.testing.assert_close(total, sum(summands))


def test_regularizers_of_one_name_are_logged_together() -> None:
    evaluate, params = with_batch_norm(IBP(), Certified(), [L1(weight=1.0), L1(weight=2.0, scope="all")])
    weights = sum(p.abs().sum() for p in params.values() if p.ndim > 1)
    _, metrics = evaluate(params)
    torch.testing.assert_close(metrics["l1"], (weights + 2 * sum(p.abs().sum() for p in params.values())).detach())


@pytest.mark.parametrize("regularizers", [(), REGULARIZERS], ids=["plain", "regularised"])
@pytest.mark.parametrize(
    "objective", [Certified(), Certified(loss_fusion=True), Adversarial(attack=PGD(steps=2, restarts=2))]
)
@pytest.mark.parametrize(
    ("estimator", "relaxation"),
    [(PGPE, IBP()), (PGPE, HBox()), (PGPE, AlphaCROWN(step_rule="sign")), (RGS, HBox()), (RGS, DeepPoly())],
)
def test_members_together_are_members_one_by_one(
    relaxation: Relaxation, objective: Objective, estimator: Any, regularizers: Sequence[Regularizer]
) -> None:
    evaluate, params = with_batch_norm(relaxation, objective, regularizers)
    found = []
    for chunk_size in (1, 3):
        estimate = estimator(population_size=4, chunk_size=chunk_size)(evaluate, params, Step(0, 0))
        gradients = torch.autograd.grad(estimate.loss, list(params.values()))
        found.append((estimate.loss, *estimate.metrics.values(), torch.cat([g.flatten() for g in gradients])))
    *values, gradient = found[0]
    *values_together, together = found[1]
    torch.testing.assert_close(values_together, values)
    # PGPE divides differences of losses, known to float32's rounding, by sigma
    scale = 5e-4 if estimator is PGPE else 1e-5
    torch.testing.assert_close(together, gradient, rtol=0, atol=scale * max(1, gradient.norm().item()))


@pytest.mark.parametrize("objective", [Standard(), Certified(natural_weight=0.5)])
def test_the_batch_that_gives_the_statistics_is_evaluated_once(
    objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, params = with_batch_norm(IBP(), objective)
    tensors = {**evaluate.tensors, **params}
    tensors |= evaluate.graph.batch_statistics(tensors, evaluate.batch.inputs)
    expected, expected_metrics = objective(evaluate.graph, IBP(), tensors, evaluate.batch)
    evaluated, evaluate_norm = [], BatchNorm.evaluate

    def noted(self: BatchNorm, tensors: Tensors, *inputs: Tensor) -> Tensor:
        evaluated.append(self.mean)
        return evaluate_norm(self, tensors, *inputs)

    monkeypatch.setattr(BatchNorm, "evaluate", noted)
    loss, metrics = evaluate(params)
    norms = [node.operation for node in evaluate.graph.nodes if isinstance(node.operation, BatchNorm)]
    assert evaluated == [norm.mean for norm in norms]
    torch.testing.assert_close((loss, metrics), (expected, expected_metrics))
    gradients = (torch.autograd.grad(value, list(params.values())) for value in (loss, expected))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_logits_are_known_for_the_very_tensors_and_inputs_alone() -> None:
    evaluate, params = with_batch_norm(IBP(), Standard())
    graph, tensors = evaluate.graph, {**evaluate.tensors, **params}
    logits = torch.zeros(6, 3)
    batch = evaluate.batch._replace(evaluation=Evaluation(tensors, evaluate.batch.inputs, logits))
    assert batch.logits(graph, tensors) is logits
    torch.testing.assert_close(batch.logits(graph, {**tensors}), graph(tensors, batch.inputs))
    first = batch._replace(inputs=batch.inputs[:2])
    torch.testing.assert_close(first.logits(graph, tensors), graph(tensors, batch.inputs[:2]))
