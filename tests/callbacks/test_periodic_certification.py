from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import PeriodicCertification
from gls_lightning.certification import Certifier, Summary, Verdict, summarise
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


def certified_while_training(callback: PeriodicCertification, samples: int) -> tuple[list[dict[str, float]], Summary]:
    """What is logged in a short training, and what the first samples should give."""
    torch.manual_seed(0)
    x, y = torch.rand(30, 1, 2, 3), torch.arange(30) % 3
    data = DataLoader(TensorDataset(x, y), batch_size=10)
    module = CertifiedTrainingModule(
        network=nn.Sequential(nn.Flatten(), nn.Linear(6, 3)), epsilon=0.02, relaxation=IBP(), estimator=Backprop()
    )
    module.current_epsilon.fill_(1.0)
    recorder = Recorder()
    quiet_trainer(max_epochs=4, callbacks=[callback], logger=recorder).fit(module, data, data)
    first = x[:samples], y[:samples], torch.arange(samples)
    records = callback.certifier.certify(module.graph, module.tensors(), *first, 0.02)
    return [row for row in recorder.rows if "certification/certified_accuracy" in row], summarise(records)


def check(row: dict[str, float], expected: Summary) -> None:
    for name in ("natural_accuracy", "certified_accuracy", "adversarial_accuracy"):
        assert row[f"certification/{name}"] == pytest.approx(getattr(expected, name))
    unknown = expected.verdicts[Verdict.UNKNOWN].samples / expected.total.samples
    assert row["certification/unknown"] == pytest.approx(unknown)
    assert row["certification/samples"] == expected.total.samples


def test_certifies_the_first_images_every_few_epochs_at_the_target_radius() -> None:
    rows, expected = certified_while_training(PeriodicCertification(samples=20, every_n_epochs=2), 20)
    assert [row["epoch"] for row in rows] == [1, 3]
    check(rows[-1], expected)


def test_without_attack_what_is_not_certified_is_unknown() -> None:
    certifier = Certifier(relaxations=[], use_attack=False, batch_size=7)
    rows, expected = certified_while_training(PeriodicCertification(samples=20, certifier=certifier), 20)
    check(rows[-1], expected)
    assert rows[-1]["certification/unknown"] == rows[-1]["certification/natural_accuracy"] > 0


def test_no_batch_starts_after_the_time_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count()
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr("gls_lightning.callbacks.periodic_certification.time", clock)
    callback = PeriodicCertification(
        certifier=Certifier(batch_size=7), time_budget=2
    )  # one second passes with each batch
    rows, expected = certified_while_training(callback, 21)
    check(rows[-1], expected)


def test_a_time_budget_that_is_not_positive() -> None:
    with pytest.raises(ConfigurationError, match="time_budget is 0; it must be positive"):
        PeriodicCertification(time_budget=0)


@pytest.mark.parametrize("name", ["samples", "every_n_epochs"])
def test_numbers_below_1(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is 0; it must be at least 1"):
        PeriodicCertification(**{name: 0})
