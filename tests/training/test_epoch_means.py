"""Means over an epoch, against torchmetrics' own, step by step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

from gls_lightning import CertifiedTrainingModule
from gls_lightning.estimators import Backprop
from gls_lightning.relaxations import IBP
from gls_lightning.training import EpochMeans


class Own(LightningModule):
    """Logs values of which some are there in some steps only, in changing order."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.means = EpochMeans()
        self.expected = nn.ModuleDict({name: MeanMetric() for name in ("a", "b", "c")})

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch[0]).sum()
        names = [["a", "b"], ["b", "a"], ["c", "a", "b"], ["a"]][batch_idx % 4]
        values = {name: loss.detach() * (1 + ord(name)) for name in names}
        self.means.add(self, {f"train/{name}": value for name, value in values.items()}, len(batch[0]))
        for name, value in values.items():
            self.expected[name].update(value, len(batch[0]))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Compares(Callback):
    def __init__(self) -> None:
        self.epochs = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs += 1
        for name, mean in pl_module.expected.items():
            torch.testing.assert_close(trainer.callback_metrics[f"train/{name}"], mean.compute(), rtol=1e-6, atol=0)
            mean.reset()


def own_data() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.rand(27, 2, generator=torch.Generator().manual_seed(2))), 3)


def test_names_may_change_from_step_to_step() -> None:
    compares = Compares()
    quiet_trainer(max_epochs=3, callbacks=[compares]).fit(Own(), own_data())
    assert compares.epochs == 3


def test_a_fit_after_one_that_was_broken_off() -> None:
    class Broken(Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            raise RuntimeError("broken off")

    def module() -> CertifiedTrainingModule:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
        return CertifiedTrainingModule(network=network, epsilon=0.05, relaxation=IBP(), estimator=Backprop())

    data = DataLoader(TensorDataset(torch.rand(8, 1, 2, 3), torch.arange(8) % 3), 4)
    trained, fresh = module(), module()
    with pytest.raises(RuntimeError, match="broken off"):
        quiet_trainer(max_epochs=1, callbacks=[Broken()]).fit(trained, data)
    trained.load_state_dict(fresh.state_dict())
    metrics = []
    for one in (trained, fresh):
        runner = quiet_trainer(max_epochs=1)
        runner.fit(one, data, data)
        metrics.append(runner.callback_metrics)
    assert "train/natural_accuracy" in metrics[0]
    torch.testing.assert_close(*metrics, rtol=0, atol=0)


def test_a_checkpoint_of_an_earlier_version_within_an_epoch(tmp_path: Path) -> None:
    """Its means were torchmetrics' states, as they are now."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    module = CertifiedTrainingModule(network=network, epsilon=0.05, relaxation=IBP(), estimator=Backprop())
    data = DataLoader(TensorDataset(torch.rand(8, 1, 2, 3), torch.arange(8) % 3), 2)
    runner = quiet_trainer(max_steps=2)
    runner.fit(module, data)
    runner.save_checkpoint(tmp_path / "last.ckpt")
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    # Of six images before, in place of the four that there were, all were right.
    states = {"mean_value": torch.tensor(6.0), "weight": torch.tensor(6.0)}
    checkpoint["begun_means"] = {"train/natural_accuracy": states}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with torch.no_grad():
        network[1].weight.zero_()

    class Wrong(CertifiedTrainingModule):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            with torch.no_grad():
                self.network[1].weight.zero_()
                self.network[1].bias.copy_(10.0 * nn.functional.one_hot((batch[1][0] + 1) % 3, 3))
            return super().training_step([part[:1] for part in batch], batch_idx)

    resumed = Wrong(network=network, epsilon=0.05, relaxation=IBP(), estimator=Backprop())
    runner = quiet_trainer(max_epochs=1)
    runner.fit(resumed, data, ckpt_path=tmp_path / "last.ckpt")
    assert runner.callback_metrics["train/natural_accuracy"].item() == 6 / 8
