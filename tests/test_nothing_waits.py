"""Between the steps whose metrics are read, a training step asks no device for a number."""

import traceback
from functools import partial
from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.attacks import PGD
from gls_lightning.callbacks import SWA, EpsilonAnnealing
from gls_lightning.estimators import PGPE, RGS, SAM, Backprop, GradientEstimator
from gls_lightning.objectives import SABR, Certified, FeatureDistillation, LogitDistillation, Objective
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly, Relaxation

READING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim")


READ = (1, 5, 8, 9, 10, 15, 16)
"""The batches of two epochs of 8 that are read: the first and last ones of epochs, and each fifth."""


class Watch(TorchDispatchMode):
    """Notes each operation that waits for a device, with the place that asks."""

    def __init__(self) -> None:
        super().__init__()
        self.watching, self.steps = False, 0
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.watching and func.overloadpacket.__name__ in READING:
            ours = [f"{f.filename.partition('gls_lightning/')[2]}:{f.lineno}" for f in traceback.extract_stack()]
            self.found.append(f"{func} at {[place for place in ours if not place.startswith(':')][-1]}")
        return func(*args, **(kwargs or {}))


class Watched(CertifiedTrainingModule):
    """Lets a watch look at the steps between those that are read, from the first hook to the last."""

    watch: Watch

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        number = 1 + self.trainer.fit_loop.epoch_loop.batch_progress.total.ready
        self.watch.watching = number not in READ
        self.watch.steps += self.watch.watching
        return batch

    def on_train_batch_end(self, *args: Any) -> None:
        super().on_train_batch_end(*args)
        self.watch.watching = False


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("training.network", "callbacks.non_finite_guard"):
        monkeypatch.setattr(f"gls_lightning.{place}.reading_waits", lambda tensor: True)


def watched(
    estimator: GradientEstimator, relaxation: Relaxation, objective: Objective, batch_norm: bool = False, **options: Any
) -> Watch:
    torch.manual_seed(0)
    norm = [nn.BatchNorm2d(2)] if batch_norm else []
    layers = [nn.Conv2d(1, 2, 2), *norm, nn.ReLU(), nn.Flatten(), nn.Linear(18, 5), nn.ReLU(), nn.Linear(5, 3)]
    module = Watched(
        network=nn.Sequential(*layers),
        epsilon=0.05,
        relaxation=relaxation,
        estimator=estimator,
        objective=objective,
        l1=1e-5,
        optimizer=partial(torch.optim.Adam, lr=1e-3, fused=True),
    )
    module.watch = Watch()
    data = DataLoader(TensorDataset(torch.rand(32, 1, 4, 4), torch.arange(32) % 3, torch.arange(32)), 4)
    trainer = quiet_trainer(**{"max_epochs": 2, "log_every_n_steps": 5, "gradient_clip_val": 1.0, **options})
    with module.watch:
        trainer.fit(module, data)
    assert module.watch.steps == 16 - len(READ)
    return module.watch


@pytest.mark.parametrize("estimator", [Backprop, RGS, partial(PGPE, population_size=4), SAM])
@pytest.mark.parametrize("relaxation", [IBP, CROWNIBP, DeepPoly])
def test_estimators_and_relaxations(estimator: Any, relaxation: Any) -> None:
    assert watched(estimator(), relaxation(), Certified()).found == []


@pytest.mark.parametrize(
    "options",
    [
        {"batch_norm": True},
        {"accumulate_grad_batches": 2},
        {"callbacks": [EpsilonAnnealing(end_epoch=1)]},
        {"gradient_clip_algorithm": "value"},
    ],
)
def test_options(options: dict[str, Any]) -> None:
    if options.get("accumulate_grad_batches"):
        options = {**options, "log_every_n_steps": 1000}
    assert watched(Backprop(), IBP(), Certified(), **options).found == []


def test_averaging_asks_in_the_steps_that_are_averaged() -> None:
    """PyTorch keeps the number of averaged networks in a tensor."""
    found = watched(Backprop(), IBP(), Certified(), callbacks=[SWA(start_epoch=0, every_n_steps=3)]).found
    assert all(" at callbacks/_averaged_weights.py" in place for place in found)
    seldom = watched(Backprop(), IBP(), Certified(), callbacks=[SWA(start_epoch=0, every_n_steps=5)]).found
    assert found
    assert seldom == [], "no step but those that are read anyway"


def test_attacks() -> None:
    assert watched(Backprop(), IBP(), SABR()).found == []


@pytest.mark.parametrize("kind", [LogitDistillation, partial(FeatureDistillation, alpha=0.5)])
def test_teachers(kind: Any) -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3))
    assert watched(RGS(), DeepPoly(), kind(teacher=teacher, teacher_weights=None, attack=PGD(steps=2))).found == []


def test_the_watch_sees() -> None:
    class Reads(IBP):
        def __call__(self, *args: Any) -> torch.Tensor:
            bounds = super().__call__(*args)
            bounds.sum().item()
            return bounds

    assert watched(Backprop(), Reads(), Certified()).found


def test_a_step_is_checked_where_its_metrics_are_read() -> None:
    """The place of the reading, which the others leave out."""

    reads: list[bool] = []

    class Everywhere(Watched):
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            self.watch.watching = True
            self.watch.found.clear()
            return batch

        def optimizer_step(self, *args: Any, **options: Any) -> None:
            super().optimizer_step(*args, **options)
            reads.append(bool(self.watch.found))

    torch.manual_seed(0)
    module = Everywhere(
        network=nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), epsilon=0.05, relaxation=IBP(), estimator=Backprop(),
        optimizer=partial(torch.optim.Adam, lr=1e-3, fused=True),
    )  # fmt: skip
    module.watch = Watch()
    data = DataLoader(TensorDataset(torch.rand(32, 1, 4, 4), torch.arange(32) % 3), 4)
    trainer: Trainer = quiet_trainer(max_epochs=2, log_every_n_steps=5)
    with module.watch:
        trainer.fit(module, data)
    assert isinstance(module, LightningModule)
    assert reads == [number in READ for number in range(1, 17)]
