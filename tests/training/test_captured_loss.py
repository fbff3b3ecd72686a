"""Captured losses against the losses themselves: a tape of operations stands in for a CUDA graph."""

import copy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from common.tape import TapeRecorder
from torch import Tensor, nn

from gls_lightning.attacks import PGD
from gls_lightning.bounds import Graph, trace
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import PGPE, RGS, SAM, Backprop, GradientEstimator, Step
from gls_lightning.objectives import (
    CCIBP,
    L1,
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
    ShiRegularizer,
    Standard,
)
from gls_lightning.recorder import RECORDERS
from gls_lightning.relaxations import CROWNIBP, IBP, AlphaCROWN, DeepPoly, HBox, Relaxation
from gls_lightning.training import CapturedLosses, TrainingLoss

ATTACK = PGD(steps=2)
CPU = torch.device("cpu")

ESTIMATORS: dict[str, Callable[[], GradientEstimator]] = {
    "GRAD": Backprop,
    "RGS": lambda: RGS(population_size=2, sigma=0.01),
    "RGS by vmap": lambda: RGS(population_size=4, sigma=0.01, chunk_size=4),
    "SAM": SAM,
    "PGPE": lambda: PGPE(population_size=4),
    "PGPE by vmap": lambda: PGPE(population_size=6, chunk_size=4),
}
TEACHER = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
OBJECTIVES: list[Objective] = [
    Standard(),
    Certified(natural_weight=0.3),
    Certified(loss_fusion=True),
    Adversarial(attack=ATTACK),
    SABR(attack=ATTACK),
    MTLIBP(alpha=0.5, attack=ATTACK),
    CCIBP(alpha=0.5, attack=ATTACK),
    TAPS(latent_attack=ATTACK),
    STAPS(attack=ATTACK, latent_attack=ATTACK),
    LogitDistillation(teacher=TEACHER, teacher_weights=None, attack=ATTACK, objective=MTLIBP(alpha=0.5, attack=ATTACK)),
    FeatureDistillation(teacher=TEACHER, teacher_weights=None, attack=ATTACK, alpha=0.5),
]
RELAXATIONS: list[Relaxation] = [
    IBP(),
    CROWNIBP(intersect_ibp=True),
    DeepPoly(),
    DeepPoly(memory_budget=1e-6),
    HBox(),
    AlphaCROWN(step_rule="sign"),
    AlphaCROWN(steps=2),
]


def name(part: Any) -> str:
    return type(part).__name__


class Problem:
    """A network with BatchNorm and its losses, each of another batch, radius and share of the ramp."""

    def __init__(self, relaxation: Relaxation, objective: Objective, ramp: int = 2) -> None:
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 3, 3, 2, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()
        self.network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
        self.network.requires_grad_(True)[0].bias.requires_grad_(False)
        self.graph: Graph = trace(self.network, (1, 8, 8))
        self.relaxation, self.objective, self.ramp = relaxation, objective, ramp
        self.regularizers = [L1(weight=1e-3), ShiRegularizer()]

    @property
    def params(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    def loss(self, step: int, samples: int = 4) -> TrainingLoss:
        generator = torch.Generator().manual_seed(step)
        images = torch.rand(samples, 1, 8, 8, generator=generator)
        labels = torch.randint(3, (samples,), generator=generator)
        progress = min(1.0, step / self.ramp)
        starts = self.objective.draw_starts(self.graph, torch.arange(samples), step)
        targets = self.objective.targets(images)
        batch = Batch(images, labels, torch.tensor(0.1 * progress), starts, progress, targets=targets)
        tensors = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        names = {name: name for name in self.params}
        return TrainingLoss(self.graph, self.relaxation, self.objective, tensors, names, batch, self.regularizers)

    def estimate(self, estimator: GradientEstimator, loss: Any, step: int) -> list[Tensor]:
        """Loss, gradients and metrics."""
        self.network.zero_grad()
        loss, metrics = estimator(loss, self.params, Step(seed=0, batch=step))
        loss.backward()
        return [loss.detach(), *(p.grad for p in self.params.values()), *metrics.values()]


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> TapeRecorder:
    recorder = TapeRecorder()
    monkeypatch.setitem(RECORDERS, "cpu", lambda device: recorder)
    return recorder


def captured(relaxation: Relaxation, capture: Any = True) -> CapturedLosses:
    losses = CapturedLosses(capture)
    losses.start(CPU, relaxation, processes=1)
    return losses


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(map(torch.equal, first, second))


COMBINATIONS = [
    *((IBP(), Certified(loss_fusion=True), estimator) for estimator in ESTIMATORS),
    *((IBP(), objective, estimator) for objective in OBJECTIVES for estimator in ("GRAD", "PGPE by vmap")),
    *(
        (relaxation, Certified(), estimator)
        for relaxation in RELAXATIONS
        for estimator in ("RGS", "RGS by vmap", "PGPE")
    ),
]


@pytest.mark.parametrize(
    ("relaxation", "objective", "estimator"),
    COMBINATIONS,
    ids=lambda part: part if isinstance(part, str) else name(part),
)
def test_replays_give_the_same_numbers(
    tape: TapeRecorder, relaxation: Relaxation, objective: Objective, estimator: str
) -> None:
    made = ESTIMATORS[estimator]()
    if made.needs_differentiable and not relaxation.differentiable:
        pytest.skip("no gradients")
    problem, losses = Problem(relaxation, objective), captured(relaxation)
    for step in range(4):
        plain = problem.estimate(made, problem.loss(step), step)
        assert same(plain, problem.estimate(made, losses(problem.loss(step)), step))
        with torch.no_grad():  # the weights of the next step are others
            for p in problem.params.values():
                p.sub_(0.1 * p.grad)
    evaluations = 2 if estimator == "PGPE by vmap" else 1  # its last members are fewer
    assert tape.recorded == 2 * evaluations  # while the radius grows, and at its target
    assert tape.replayed >= 4 * evaluations


def test_smaller_batches_are_evaluated_and_larger_ones_recorded(tape: TapeRecorder) -> None:
    problem, losses = Problem(DeepPoly(), Certified(), ramp=1), captured(DeepPoly())
    recorded = []
    for step, samples in enumerate((4, 4, 3, 4, 6, 4, 6), start=1):
        plain = problem.estimate(Backprop(), problem.loss(step, samples), step)
        assert same(plain, problem.estimate(Backprop(), losses(problem.loss(step, samples)), step))
        recorded.append((tape.recorded, tape.replayed))
    assert recorded == [(1, 1), (1, 2), (1, 2), (1, 3), (2, 4), (2, 4), (2, 5)]


@pytest.mark.parametrize("skip", [True, "auto"])
@pytest.mark.parametrize("estimator", ["GRAD", "RGS"])
def test_skipped_neurons_stay_skipped(tape: TapeRecorder, skip: Any, estimator: str) -> None:
    relaxation, made = DeepPoly(skip_ibp_stable=skip), ESTIMATORS[estimator]()
    problem, losses = Problem(relaxation, Certified(), ramp=1), captured(relaxation)
    radii = 1e-3, 2e-3, 0.01, 0.05, 0.3  # more and more unstable neurons
    for step, radius in enumerate(radii, start=1):
        problem_loss = problem.loss(step)
        loss = problem_loss.with_batch(problem_loss.batch._replace(epsilon=torch.tensor(radius)))
        plain = problem.estimate(made, loss, step)
        for own, right in zip(problem.estimate(made, losses(loss), step), plain, strict=True):
            torch.testing.assert_close(own, right, rtol=1e-5, atol=1e-6)
    assert tape.recorded > 1  # the neurons became too many for what was recorded
    assert tape.replayed >= len(radii)


def test_a_changed_option_is_recorded_anew(tape: TapeRecorder) -> None:
    objective = MTLIBP(alpha=0.5, attack=ATTACK)
    problem, losses = Problem(IBP(), objective, ramp=1), captured(IBP())
    for step, alpha in enumerate((0.5, 0.5, 0.2, 0.2), start=1):
        objective.alpha = alpha
        plain = problem.estimate(Backprop(), problem.loss(step), step)
        assert same(plain, problem.estimate(Backprop(), losses(problem.loss(step)), step))
    assert tape.recorded == 2


def test_options_that_change_in_every_step_are_not_recorded(
    tape: TapeRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    objective = MTLIBP(alpha=0.5, attack=ATTACK)
    problem, losses = Problem(IBP(), objective, ramp=1), captured(IBP(), "auto")
    for step in range(1, 12):
        objective.alpha = step / 20
        plain = problem.estimate(Backprop(), problem.loss(step), step)
        assert same(plain, problem.estimate(Backprop(), losses(problem.loss(step)), step))
    assert tape.recorded == 4


class ReadsValues(Certified):
    """An objective with a branch on a value."""

    def _robust_loss(self, *args: Any) -> Any:
        loss, metrics = super()._robust_loss(*args)
        return (loss * 2 if loss > 1 else loss), metrics


class Counts(Certified):
    """An objective that is not pure: it depends on how often it was called."""

    calls = 0

    def _robust_loss(self, *args: Any) -> Any:
        loss, metrics = super()._robust_loss(*args)
        Counts.calls += 1
        return loss * Counts.calls, metrics


def estimates_of(problem: Problem, losses: CapturedLosses) -> None:
    for step in (1, 2, 3):
        problem.estimate(Backprop(), losses(problem.loss(step)), step)


@pytest.mark.parametrize(
    ("objective", "message"),
    [(ReadsValues(), "_local_scalar_dense reads values of tensors"), (Counts(), "a replay gave other numbers")],
    ids=["reads values", "not pure"],
)
def test_what_cannot_be_recorded_is_evaluated_or_refused(
    tape: TapeRecorder, objective: Objective, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("gls_lightning.training.captured_loss.rank_zero_info", said.append)
    problem = Problem(IBP(), objective, ramp=1)
    estimates_of(problem, captured(IBP(), "auto"))
    (refusal,) = (text for text in said if "not captured" in text)
    assert message in refusal
    with pytest.raises(ConfigurationError, match=f"capture is true.*{message}"):
        estimates_of(problem, captured(IBP()))


@pytest.mark.parametrize(
    ("capture", "processes", "message"),
    [(True, 2, "2 processes train together"), ("yes", 1, "capture is 'yes'; it must be auto, true or false")],
)
def test_what_cannot_be_is_refused(tape: TapeRecorder, capture: Any, processes: int, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CapturedLosses(capture).start(CPU, IBP(), processes)


def test_a_cpu_records_nothing() -> None:
    losses = captured(IBP(), "auto")
    loss = Problem(IBP(), Certified()).loss(1)
    assert losses(loss) is loss
    with pytest.raises(ConfigurationError, match="the training runs on cpu, not on cuda"):
        captured(IBP())


def test_copies_and_ended_fits_hold_no_recordings(tape: TapeRecorder) -> None:
    problem, losses = Problem(IBP(), Certified()), captured(IBP())
    problem.estimate(Backprop(), losses(problem.loss(1)), 1)
    assert losses._recordings
    assert not copy.deepcopy(losses)._recordings
    losses.end()
    assert not losses._recordings
    loss = problem.loss(2)
    assert losses(loss) is loss


class Room:
    """A recorder on a device without room for a recording."""

    def __init__(self, device: torch.device) -> None:
        pass

    def __call__(self, function: Callable[[], list[Tensor]]) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")


class Watched(Certified):
    """An objective that keeps what exceptions were handled, whose frames would hold memory."""

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[Any] = []

    def _robust_loss(self, *args: Any) -> Any:
        self.handled.append(sys.exception())
        return super()._robust_loss(*args)


def test_without_room_for_a_recording_the_loss_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECORDERS, "cpu", Room)
    objective = Watched()
    problem, losses = Problem(IBP(), objective, ramp=1), captured(IBP(), "auto")
    plain = problem.estimate(Backprop(), problem.loss(1), 1)
    assert same(plain, problem.estimate(Backprop(), losses(problem.loss(1)), 1))
    assert objective.handled == [None] * 3  # once plain, once to find numbers of neurons, and in place of the recording


def test_other_parts_of_a_fit_have_recorders_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECORDERS, "cpu", TapeRecorder)
    losses = captured(IBP())
    assert losses.new_recorder() is not None
    assert losses.new_recorder() is not losses._recorder
    losses.end()
    assert losses.new_recorder() is None
