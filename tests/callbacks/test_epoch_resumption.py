"""A resumed fit against the fit that was not stopped, from every kind of checkpoint."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from gls_lightning import CertifiedTrainingModule
from gls_lightning.data import Digits
from gls_lightning.estimators import Backprop
from gls_lightning.relaxations import IBP

DATA = Digits(batch_size=16, train_size=48, test_size=20)  # read once
plateau = partial(ReduceLROnPlateau, patience=0, factor=0.5, threshold=0.9)


def warm_up(optimizer: Optimizer) -> SequentialLR:
    return SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=3), CosineAnnealingLR(optimizer, 6)], [3])


class Course(Callback):
    """Learning rates by step, and losses of the validations by step and epoch."""

    def __init__(self) -> None:
        self.rates: dict[int, float] = {}
        self.losses: dict[tuple[int, int], float] = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        self.rates[trainer.global_step] = trainer.optimizers[0].param_groups[0]["lr"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.losses[trainer.global_step, trainer.current_epoch] = trainer.callback_metrics["val/loss"].item()


def fit(
    scheduler: Callable[[Optimizer], Any],
    options: dict[str, Any],
    *,
    interval: Any = "epoch",
    callbacks: list[Callback] | None = None,
    checkpoint: Path | None = None,
    batch_norm: bool = False,
) -> tuple[Course, Trainer, dict[str, Any]]:
    """Three epochs of three batches, or as the options say."""
    torch.manual_seed(1)
    norm = [nn.BatchNorm1d(8)] if batch_norm else []
    module = CertifiedTrainingModule(
        network=nn.Sequential(nn.Flatten(), nn.Linear(64, 8), *norm, nn.ReLU(), nn.Linear(8, 10)),
        relaxation=IBP(),
        estimator=Backprop(),
        epsilon=0.05,
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        scheduler=scheduler,
        scheduler_interval=interval,
    )
    course = Course()
    defaults = {"max_epochs": 3, "enable_checkpointing": bool(callbacks), "num_sanity_val_steps": 0}
    trainer = quiet_trainer(callbacks=[course, *(callbacks or [])], **{**defaults, **options})
    trainer.fit(module, datamodule=DATA, ckpt_path=checkpoint)
    return course, trainer, module.state_dict()


def checkpoints(folder: Path) -> list[Callback]:
    """After every batch, after every epoch, and after every validation."""
    kinds: dict[str, dict[str, Any]] = {
        "batch": {"every_n_train_steps": 1},
        "epoch": {"every_n_epochs": 1},
        "validation": {"monitor": "val/loss"},
    }
    return [
        ModelCheckpoint(folder, f"{kind}-{{step}}-{{epoch}}", save_top_k=-1, **when) for kind, when in kinds.items()
    ]


@pytest.mark.parametrize(
    ("scheduler", "interval", "options"),
    [
        pytest.param(plateau, "epoch", {}, id="plateau"),
        pytest.param(plateau, "epoch", {"val_check_interval": 2}, id="plateau, validation within epochs"),
        pytest.param(
            plateau,
            "epoch",
            {"check_val_every_n_epoch": 2, "max_epochs": 6, "limit_train_batches": 2},
            id="plateau, validation of every other epoch",
        ),
        pytest.param(plateau, "epoch", {"max_steps": 7}, id="plateau, a number of steps"),
        pytest.param(plateau, "epoch", {"accumulate_grad_batches": 2}, id="plateau, accumulated gradients"),
        pytest.param(partial(MultiStepLR, milestones=[1, 2]), "epoch", {"max_steps": 7}, id="MultiStepLR"),
        pytest.param(partial(OneCycleLR, max_lr=0.05, total_steps=9), "step", {}, id="OneCycleLR"),
        pytest.param(warm_up, "step", {}, id="warm-up and cosine"),
    ],
)
def test_learning_rates_validations_and_weights_are_those_of_the_whole_fit(
    scheduler: Callable[[Optimizer], Any], interval: str, options: dict[str, Any], tmp_path: Path
) -> None:
    whole, trainer, weights = fit(scheduler, options, interval=interval, callbacks=checkpoints(tmp_path))
    assert len(set(whole.rates.values())) > 1
    files = list(tmp_path.iterdir())
    assert len(files) > 6
    for file in files:
        course, resumed, own = fit(scheduler, options, interval=interval, checkpoint=file)
        start = torch.load(file, weights_only=True)["global_step"]
        assert course.rates == {step: rate for step, rate in whole.rates.items() if step >= start}, file.name
        later = {place: loss for place, loss in whole.losses.items() if place[0] > start}
        here = {} if file.name.startswith(("epoch", "validation")) else whole.losses
        of_start = {place: loss for place, loss in here.items() if place[0] == start}
        assert course.losses == of_start | later, file.name
        torch.testing.assert_close(own, weights, rtol=0, atol=0)
        for ours, theirs in zip(resumed.lr_scheduler_configs, trainer.lr_scheduler_configs, strict=True):
            assert str(ours.scheduler.state_dict()) == str(theirs.scheduler.state_dict()), file.name


class Stopped(BaseException):
    """What no code handles."""


class StopsInValidation(Callback):
    """Ends the second validation after its first batch."""

    validations = 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validations += 1

    def on_validation_batch_end(self, trainer: Trainer, *others: Any) -> None:
        if self.validations == 2:
            trainer.save_checkpoint("stopped.ckpt")
            raise Stopped


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_validation_that_was_stopped_begins_anew(
    batch_norm: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"val_check_interval": 2}
    whole, _, weights = fit(plateau, options, batch_norm=batch_norm)
    with pytest.raises(Stopped):
        fit(plateau, options, batch_norm=batch_norm, callbacks=[StopsInValidation()])
    course, _, own = fit(plateau, options, batch_norm=batch_norm, checkpoint=Path("stopped.ckpt"))
    assert course.losses == dict(list(whole.losses.items())[1:])
    torch.testing.assert_close(own, weights, rtol=0, atol=0)


def test_statistics_of_batch_norm_that_are_stale_are_reset_after_a_resumption(tmp_path: Path) -> None:
    """A checkpoint after the second of three batches, before the validation there."""
    options = {"val_check_interval": 2}
    whole, *_ = fit(plateau, options, batch_norm=True, callbacks=checkpoints(tmp_path))
    course, *_ = fit(plateau, options, batch_norm=True, checkpoint=next(tmp_path.glob("batch-step=2-*")))
    assert course.losses == whole.losses


def test_an_epoch_that_was_cut_short_goes_on(tmp_path: Path) -> None:
    scheduler = partial(StepLR, step_size=1, gamma=0.5)
    whole, _, weights = fit(scheduler, {"max_steps": 8})
    _, first, _ = fit(scheduler, {"max_steps": 4})
    first.save_checkpoint(tmp_path / "first.ckpt")
    course, _, own = fit(scheduler, {"max_steps": 8}, checkpoint=tmp_path / "first.ckpt")
    assert course.rates == {step: rate for step, rate in whole.rates.items() if step >= 4}
    torch.testing.assert_close(own, weights, rtol=0, atol=0)
