"""The guard as it is on a GPU, on a CPU that is taken for one."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.bounds import Graph
from gls_lightning.callbacks import NonFiniteGuard
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Backprop
from gls_lightning.objectives import Batch, Certified
from gls_lightning.relaxations import IBP, Relaxation

BAD = 2
"""Number of the batch with which the trouble begins."""


class Changed(Certified):
    """A loss that is changed from a batch on."""

    def __init__(self, change: Any, first: int = BAD) -> None:
        super().__init__()
        self.change, self.first, self.batches = change, first, 0

    def __call__(
        self, graph: Graph, relaxation: Relaxation, tensors: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = super().__call__(graph, relaxation, tensors, batch)
        self.batches += 1
        return (self.change(loss) if self.batches > self.first else loss), metrics


def nan_loss(loss: Tensor) -> Tensor:
    return loss * float("nan")


def nan_gradient(loss: Tensor) -> Tensor:
    return loss + (loss.detach() - loss).sqrt()


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gls_lightning.callbacks.non_finite_guard.reading_waits", lambda value: True)


def module(change: Any = None, optimizer: Any = None) -> CertifiedTrainingModule:
    torch.manual_seed(0)
    return CertifiedTrainingModule(
        network=nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)),
        epsilon=0.05,
        relaxation=IBP(),
        estimator=Backprop(),
        objective=Certified() if change is None else Changed(change),
        optimizer=optimizer or partial(torch.optim.Adam, lr=0.01),
    )


def data() -> DataLoader[Any]:
    images = torch.rand(40, 1, 2, 3, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(images, torch.arange(40) % 3), 4)


def message(trained: LightningModule, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as stopped:
        quiet_trainer(**{"max_epochs": 2, "log_every_n_steps": 5, **options}).fit(trained, data())
    assert "\n" not in str(stopped.value)
    return str(stopped.value)


class Stops(Callback):
    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        trainer.should_stop = trainer.global_step == 4


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({}, "at step 4 (batch 4, epoch 0"),
        ({"log_every_n_steps": 1000}, "at step 9 (batch 9, epoch 0"),
        ({"log_every_n_steps": 1000, "max_steps": 6}, "at step 5 (batch 5, epoch 0"),
        ({"log_every_n_steps": 1000, "callbacks": [Stops()]}, "at step 4 (batch 3, epoch 0"),
        ({"log_every_n_steps": 2, "accumulate_grad_batches": 3}, "at step 1 (batch 5, epoch 0"),
    ],
)
def test_the_first_bad_batch_is_named_where_metrics_are_read(options: dict[str, Any], seen: str) -> None:
    said = message(module(nan_loss), **options)
    assert said.startswith(f"the loss of batch 2 was nan, as was seen {seen}"), said
    assert "with trainer.log_every_n_steps: 1 each batch is checked before its step" in said


def test_a_gradient_of_a_finite_loss() -> None:
    assert message(module(nan_gradient)).startswith(
        "the norm of the gradient of batch 2 was nan, as was seen at step 4"
    )


@pytest.mark.parametrize("change", [nan_loss, nan_gradient])
def test_steps_that_log_are_checked_at_once(change: Any) -> None:
    said = message(module(change), log_every_n_steps=1)
    assert said.startswith(
        "the loss is nan at step 2" if change is nan_loss else "the gradient is not finite at step 2"
    )


def tensors(trained: LightningModule) -> dict[str, Any]:
    optimizer = trained.trainer.optimizers[0]
    assert not hasattr(optimizer, "found_inf"), "the next fit would take no step"
    return {"weights": trained.state_dict(), "steps": [state.get("step") for state in optimizer.state.values()]}


@pytest.mark.parametrize("change", [nan_loss, nan_gradient])
@pytest.mark.parametrize(
    "optimizer",
    [
        partial(torch.optim.Adam, lr=0.01, fused=True),
        partial(torch.optim.AdamW, lr=0.01, fused=True),
        partial(torch.optim.SGD, lr=0.1, momentum=0.9, fused=True),
    ],
)
@pytest.mark.parametrize("clip", [None, 0.1])
def test_a_fused_optimizer_leaves_the_weights_as_they_were(change: Any, optimizer: Any, clip: float | None) -> None:
    before, stopped = module(optimizer=optimizer), module(change, optimizer)
    quiet_trainer(max_steps=BAD, gradient_clip_val=clip).fit(before, data())
    assert "the weights are those before it" in message(stopped, gradient_clip_val=clip)
    torch.testing.assert_close(tensors(stopped), tensors(before), rtol=0, atol=0)


def test_another_optimizer_spoils_them_and_it_is_said() -> None:
    stopped = module(nan_loss)
    assert "later steps may have spoilt the weights" in message(stopped)
    assert any(weight.isnan().any() for weight in stopped.parameters())


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, partial(torch.optim.Adam, fused=True)])
@pytest.mark.parametrize("options", [{}, {"gradient_clip_val": 0.1}, {"accumulate_grad_batches": 3}])
def test_training_is_the_same(optimizer: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    for waits in (True, False):
        monkeypatch.setattr("gls_lightning.callbacks.non_finite_guard.reading_waits", lambda value, waits=waits: waits)
        trained.append(module(optimizer=optimizer))
        quiet_trainer(max_epochs=2, log_every_n_steps=3, **options).fit(trained[-1], data())
    torch.testing.assert_close(*map(tensors, trained), rtol=0, atol=0)


class Saves(Callback):
    """Makes a checkpoint that nobody foresees."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        trainer.save_checkpoint(self.path / f"{trainer.global_step}.ckpt")


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, partial(torch.optim.SGD, fused=True)])
@pytest.mark.parametrize("foreseen", [True, False])
def test_no_checkpoint_is_written_from_then_on(optimizer: Any, foreseen: bool, tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    trained = module(nan_loss, partial(optimizer, lr=0.1))
    options = {"callbacks": [saving if foreseen else Saves(tmp_path)], "enable_checkpointing": foreseen}
    said = message(trained, log_every_n_steps=1000, **options)
    assert said.startswith("the loss is nan at step 2" if foreseen else "the loss of batch 2 was nan, as was seen at")
    assert len(list(tmp_path.glob("*.ckpt"))) == BAD


def witnessed(check: Any, folder: Path) -> Any:
    """The check, which in each process writes down what it raises and lets the other do so too."""

    def checked(guard: NonFiniteGuard, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        try:
            check(guard, trainer, pl_module, loss)
        except ConfigurationError as error:
            (folder / f"{trainer.global_rank}.txt").write_text(str(error))
            until = time.monotonic() + 30
            while len(list(folder.glob("*.txt"))) < trainer.world_size and time.monotonic() < until:
                time.sleep(0.05)
            raise

    return checked


class OnSecond(CertifiedTrainingModule):
    """Has a bad loss, with a good gradient, on the second process."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss + float("nan") if self.global_rank == 1 and batch_idx >= 1 else loss


def test_all_processes_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)  # forked processes hang in a pool of threads that they do not have
    monkeypatch.setattr(NonFiniteGuard, "on_before_backward", witnessed(NonFiniteGuard.on_before_backward, tmp_path))
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    trained = OnSecond(
        network=network,
        epsilon=0.05,
        relaxation=IBP(),
        estimator=Backprop(),
        optimizer=partial(torch.optim.SGD, lr=0.1),
    )
    runner = quiet_trainer(devices=2, strategy="ddp_fork", max_epochs=1, log_every_n_steps=4)
    with pytest.raises(Exception, match="as was seen at step 3"):
        runner.fit(trained, data())
    first, second = (Path(tmp_path, f"{rank}.txt").read_text() for rank in (0, 1))
    assert first.startswith("a number of another process was not finite, as was seen at step 3"), first
    assert second.startswith("the loss of batch 1 was nan, as was seen at step 3"), second
