"""Every row and every monitor sees what it would if each step logged its numbers."""

from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.estimators import RGS
from gls_lightning.relaxations import IBP

NAMES = ("train/loss", "epsilon", "sigma", "learning_rate")


class Rows(CSVLogger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__("")
        self.rows: list[dict[str, Any]] = []

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self.rows.append({**metrics, "step": step})

    def save(self) -> None: ...


class LogsEachStep(CertifiedTrainingModule):
    """Logs the same numbers in every step, as Lightning's users do."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("own/train/loss", loss.detach())
        self.log("own/epsilon", self.current_epsilon)
        self.log("own/sigma", self.estimator.get_buffer("sigma"))
        self.log("own/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss


class Stops(Callback):
    """Asks to stop after a batch, as Lightning's Timer does."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step == 5


class Monitors(Callback):
    """Looks where callbacks monitor."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def look(self, trainer: Trainer) -> None:
        metrics = trainer.callback_metrics
        self.seen += [(metrics[name].clone(), metrics[f"own/{name}"].clone()) for name in NAMES]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.look(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.look(trainer)


def data() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(torch.rand(28, 1, 2, 3, generator=generator), torch.arange(28) % 3), 4)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"log_every_n_steps": 1}, 14),
        ({"log_every_n_steps": 3}, 4),
        ({"log_every_n_steps": 50}, 0),
        ({"log_every_n_steps": 0}, 0),
        ({"log_every_n_steps": 2, "accumulate_grad_batches": 3}, 3),
        ({"log_every_n_steps": 4, "max_steps": 6}, 1),
        ({"log_every_n_steps": 2, "limit_train_batches": 3}, 3),
        ({"log_every_n_steps": 4, "val_check_interval": 3}, 3),
        ({"log_every_n_steps": 4, "callbacks": [Stops()]}, 2),
        ({"log_every_n_steps": 4, "callbacks": [Stops()], "min_epochs": 2}, 11),
    ],
)
def test_same_numbers_at_the_same_steps(options: dict[str, Any], rows: int) -> None:
    torch.manual_seed(0)
    module = LogsEachStep(
        network=nn.Sequential(nn.Flatten(), nn.Linear(6, 3)),
        epsilon=0.05,
        relaxation=IBP(),
        estimator=RGS(sigma=0.01),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
        scheduler_interval="step",
    )
    monitors, logger = Monitors(), Rows()
    callbacks = [*options.pop("callbacks", []), monitors]
    quiet_trainer(**{"max_epochs": 2, "logger": logger, "callbacks": callbacks, **options}).fit(module, data(), data())
    of_steps = [row for row in logger.rows if "own/train/loss" in row]
    assert len(of_steps) == rows
    for row in of_steps:
        assert [row[name] for name in NAMES] == [row[f"own/{name}"] for name in NAMES]
    assert monitors.seen
    for value, own in monitors.seen:
        torch.testing.assert_close(value, own, rtol=0, atol=0)
