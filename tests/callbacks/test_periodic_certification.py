from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import PeriodicCertification
from gls_lightning.certification import Certifier, summarise
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Backprop
from gls_lightning.relaxations import IBP


class Recorder(Logger):
    """Keeps what is logged."""

    name, version = "recorder", 0

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append(metrics)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


def test_certifies_the_first_images_every_few_epochs_at_the_target_radius() -> None:
    torch.manual_seed(0)
    x, y = torch.rand(30, 1, 2, 3), torch.arange(30) % 3
    data = DataLoader(TensorDataset(x, y), batch_size=10)
    module = CertifiedTrainingModule(
        network=nn.Sequential(nn.Flatten(), nn.Linear(6, 3)), epsilon=0.02, relaxation=IBP(), estimator=Backprop()
    )
    module.current_epsilon.fill_(1.0)
    recorder = Recorder()
    Trainer(
        accelerator="cpu",
        max_epochs=4,
        callbacks=[PeriodicCertification(samples=20, every_n_epochs=2)],
        logger=recorder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, data, data)

    rows = [row for row in recorder.rows if "certification/certified_accuracy" in row]
    assert [row["epoch"] for row in rows] == [1, 3]
    expected = summarise(Certifier().certify(module.graph, module.tensors(), x[:20], y[:20], torch.arange(20), 0.02))
    for name in ("natural_accuracy", "certified_accuracy", "adversarial_accuracy"):
        assert rows[-1][f"certification/{name}"] == pytest.approx(getattr(expected, name))


@pytest.mark.parametrize("name", ["samples", "every_n_epochs"])
def test_numbers_below_1(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is 0; it must be at least 1"):
        PeriodicCertification(**{name: 0})
