"""Schedules against the length of the fit, which the tests count by hand: four batches in an epoch."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.cli import ReduceLROnPlateau
from torch import nn
from torch.optim import Optimizer
from torch.optim import lr_scheduler as schedules
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import SWA, EpsilonAnnealing, SigmaDecay
from gls_lightning.errors import ConfigurationError
from gls_lightning.main import main
from gls_lightning.relaxations import IBP

CONFIGS = Path(__file__).parents[1] / "configs"


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.rand(8, 1, 2, 2), torch.arange(8) % 2), batch_size=2)


def fit(
    *callbacks: Callback, scheduler: Any = None, interval: Any = "epoch", **options: Any
) -> CertifiedTrainingModule:
    module = CertifiedTrainingModule(
        network=nn.Sequential(nn.Flatten(), nn.Linear(4, 2)),
        epsilon=0.4,
        relaxation=IBP(),
        scheduler=scheduler,
        scheduler_interval=interval,
    )
    quiet_trainer(callbacks=list(callbacks), **options).fit(module, loader())
    return module


def messages(*callbacks: Callback, **options: Any) -> list[str]:
    """What a fit warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(*callbacks, **options)
    return [str(w.message) for w in caught if "training ends with" in str(w.message)]


def cosine_after_warm_up(optimizer: Optimizer) -> schedules.SequentialLR:
    parts = [schedules.LinearLR(optimizer, 0.1, total_iters=2), schedules.CosineAnnealingLR(optimizer, T_max=6)]
    return schedules.SequentialLR(optimizer, parts, milestones=[2])


@pytest.mark.parametrize(
    ("callback", "options", "parts"),
    [
        (
            EpsilonAnnealing(end_epoch=100),
            {"max_epochs": 1},
            ["end_epoch 100", "epoch 1 (4 steps)", "of the target 0.4"],
        ),
        (EpsilonAnnealing(end_epoch=4, shape="linear"), {"max_epochs": 2}, ["gets to 0.175 at most, 43.8%"]),
        (EpsilonAnnealing(end_epoch=2, shape="linear"), {"max_steps": 6}, ["epoch 1.5 (6 steps)", "to 0.25 at most"]),
        (
            EpsilonAnnealing(end_epoch=2, shape="linear"),
            {"max_steps": 3, "accumulate_grad_batches": 2},
            ["epoch 1.5 (3 steps)", "to 0.25 at most"],
        ),
        (EpsilonAnnealing(start_epoch=1, end_epoch=1), {"max_epochs": 1}, ["to 0 at most, 0.0%"]),
        (SigmaDecay(milestones=[1, 2, 3]), {"max_epochs": 2}, ["milestones [2, 3]", "epoch 2 (8 steps)"]),
        (SigmaDecay(milestones=[1, 2]), {"max_steps": 5}, ["milestones [2]", "epoch 1.25"]),
        (SWA(start_epoch=1), {"max_steps": 9}, ["every 10 steps from epoch 1 (step 4)", "(9 steps)"]),
    ],
)
def test_what_ends_behind_the_fit_is_warned_of_once(
    callback: Callback, options: dict[str, Any], parts: list[str]
) -> None:
    (message,) = messages(callback, **options)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("scheduler", "interval", "options", "parts"),
    [
        (
            partial(schedules.MultiStepLR, milestones=[1, 3, 9]),
            "epoch",
            {"max_epochs": 3},
            ["milestones 3, 9,", "epochs"],
        ),
        (partial(schedules.StepLR, step_size=2), "epoch", {"max_epochs": 2}, ["StepLR has step_size 2"]),
        (partial(schedules.StepLR, step_size=6), "step", {"max_steps": 6}, ["step_size 6, counted in steps"]),
        (
            partial(schedules.CosineAnnealingLR, T_max=12),
            "epoch",
            {"max_epochs": 3},
            ["T_max 12", "set model.scheduler_interval: step"],
        ),
        (partial(schedules.OneCycleLR, max_lr=0.1, total_steps=13), "step", {"max_epochs": 3}, ["total_steps 13"]),
        (cosine_after_warm_up, "step", {"max_steps": 7}, ["CosineAnnealingLR has T_max 6"]),
    ],
)
def test_learning_rates_that_never_come(
    scheduler: Callable[[Optimizer], Any], interval: str, options: dict[str, Any], parts: list[str]
) -> None:
    (message,) = messages(scheduler=scheduler, interval=interval, **options)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("callbacks", "options"),
    [
        ([EpsilonAnnealing(end_epoch=2), SigmaDecay(milestones=[1])], {"max_epochs": 2}),
        ([EpsilonAnnealing(end_epoch=100)], {"fast_dev_run": True}),
        ([], {"scheduler": partial(schedules.MultiStepLR, milestones=[1]), "max_steps": 5}),
        ([], {"scheduler": cosine_after_warm_up, "interval": "step", "max_epochs": 2}),
        ([], {"scheduler": partial(schedules.CosineAnnealingLR, T_max=3), "max_epochs": 3}),
        ([SWA(start_epoch=1, every_n_steps=4)], {"max_epochs": 2}),
        (
            [GradientAccumulationScheduler({0: 1, 1: 4})],
            {
                "scheduler": partial(schedules.OneCycleLR, max_lr=0.1, total_steps=5),
                "interval": "step",
                "max_epochs": 2,
            },
        ),
    ],
)
def test_schedules_that_fit_are_not_warned_of(callbacks: list[Callback], options: dict[str, Any]) -> None:
    assert messages(*callbacks, **options) == []


@pytest.mark.parametrize(
    ("interval", "options", "message"),
    [
        ("step", {"max_epochs": 3}, r"total_steps 2, but training takes 12 steps until epoch 3 \(12 steps\)"),
        ("step", {"max_epochs": 9, "max_steps": 5}, "takes 5 steps until epoch 1.25"),
        (
            "step",
            {"max_epochs": 3, "accumulate_grad_batches": 3},
            "takes 6 steps .* set total_steps: 6, from the start",
        ),
        ("epoch", {"max_epochs": 3}, "total_steps 2, but training takes 3 epochs"),
    ],
)
def test_a_cycle_that_is_shorter_than_the_fit_is_refused_before_it(
    interval: str, options: dict[str, Any], message: str
) -> None:
    class Untouched(Callback):
        def on_train_batch_start(self, *args: Any) -> None:
            pytest.fail("training began")

    cycle = partial(schedules.OneCycleLR, max_lr=0.1, total_steps=2)
    with pytest.raises(ConfigurationError, match=message):
        fit(Untouched(), scheduler=cycle, interval=interval, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheduler": schedules.ReduceLROnPlateau}, "val/loss, but this fit has no validation"),
        ({"scheduler": schedules.ReduceLROnPlateau, "interval": "step"}, "scheduler_interval is step; set it to epoch"),
        ({"interval": "batch"}, "scheduler_interval is 'batch'; it must be epoch or step"),
    ],
)
def test_schedules_that_cannot_be_stepped(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        fit(max_epochs=1, **options)


def test_a_plateau_of_a_metric_of_training_needs_no_validation() -> None:
    """No loss is below a tenth of the first one, so that every epoch but the first halves the rate."""
    seen = []

    class Rates(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    watching = partial(ReduceLROnPlateau, monitor="train/loss", patience=0, factor=0.5, threshold=0.9)
    fit(Rates(), scheduler=watching, max_epochs=4)
    assert seen == pytest.approx([5e-4, 5e-4, 2.5e-4, 1.25e-4])


@pytest.mark.usefixtures("clean_place")
def test_schedules_of_the_command_line() -> None:
    """Digits in two batches, and a cycle of as many steps."""
    words = ["fit", f"--config={CONFIGS / 'tiny.yaml'}", "--model.scheduler=OneCycleLR", "--model.scheduler.max_lr=0.1"]
    with pytest.warns(UserWarning, match=r"end_epoch 100, but training ends with epoch 1 \(2 steps\)"):
        main(
            [
                *words,
                "--model.scheduler.total_steps=2",
                "--model.scheduler_interval=step",
                "--epsilon_annealing.end_epoch=100",
            ]
        )
    (metrics,) = Path("runs").rglob("metrics.csv")
    header, *rows = (line.split(",") for line in metrics.read_text().splitlines())
    rates = [float(rate) for row in rows if (rate := row[header.index("learning_rate")])]
    optimizer = torch.optim.Adam([torch.zeros(1)])
    cycle = schedules.OneCycleLR(optimizer, max_lr=0.1, total_steps=2)
    first = cycle.get_last_lr()
    optimizer.step()
    cycle.step()
    assert rates == pytest.approx([*first, *cycle.get_last_lr()])
    assert rates[0] != rates[1]
