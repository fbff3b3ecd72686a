"""Regularisers and expressive losses in training, from the command line and in Python."""

import csv
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gls_lightning
from gls_lightning import CertifiedTrainingModule
from gls_lightning.callbacks import EpsilonAnnealing
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Backprop
from gls_lightning.main import main
from gls_lightning.objectives import EXPIBP, L1, Certified, ShiRegularizer
from gls_lightning.relaxations import IBP
from gls_lightning.training import check_fit

CONFIG = str(Path(__file__).parent / "configs/regularized.yaml")


def column(name: str) -> list[float]:
    rows = csv.DictReader(Path("runs/regularized/version_0/metrics.csv").read_text().splitlines())
    return [float(row[name]) for row in rows if row[name]]


@pytest.mark.usefixtures("clean_place")
class TestCommandLine:
    def test_trains_with_mtl_ibp_and_both_regularisers(self) -> None:
        main(["fit", "--config", CONFIG])
        for name in ("train/natural_accuracy", "train/certified_accuracy", "train/adversarial_accuracy"):
            assert len(column(name)) == 3
        assert all(value > 0 for value in column("train/l1"))
        *ramp, at_target = column("train/shi")
        assert all(value > 0 for value in ramp)
        assert at_target == 0
        loaded = gls_lightning.load("runs/regularized/version_0/checkpoints/last.ckpt")
        assert [type(term) for term in loaded.regularizers] == [L1, ShiRegularizer]

    def test_a_factor_of_l1_is_one_flag(self) -> None:
        fixed = ["--trainer.max_epochs=1", "--model.optimizer=SGD", "--model.optimizer.lr=0"]
        main(["fit", "--config", CONFIG, *fixed, "--model.l1=1e-4", "--model.l1_scope=all"])
        network = gls_lightning.load("runs/regularized/version_0/checkpoints/last.ckpt").network
        expected = 1e-4 * sum(p.abs().sum().item() for p in network.parameters())
        assert column("train/l1") == [pytest.approx(expected, rel=1e-5)]

    @pytest.mark.parametrize(
        ("flag", "message"),
        [
            ("--model.l1=-1", r"l1 is -1.0; it must be a finite number of at least 0"),
            ("--model.objective.alpha=2", "alpha is 2.0; it must be between 0 (adversarial) and 1 (certified)"),
            ("--model.regularizer.weight=.nan", "weight of ShiRegularizer is nan; it must be a finite number"),
        ],
    )
    def test_bad_values(self, flag: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["fit", "--config", CONFIG, flag])
        (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("gls: "))
        assert message in line

    def test_near_names(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["fit", "--config", CONFIG, "--model.regularizer=ShiRegulariser"])
        assert "there is no such regularizer; near: ShiRegularizer" in capsys.readouterr().err


def fit(regularizer: Any = None, annealing: int = 0, epsilon: float = 0.05, **options: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    module = CertifiedTrainingModule(
        network=network, epsilon=epsilon, relaxation=IBP(), estimator=Backprop(), regularizer=regularizer, **options
    )
    callbacks = [EpsilonAnnealing(end_epoch=annealing)]
    trainer = quiet_trainer(max_epochs=2, num_sanity_val_steps=0, callbacks=callbacks)
    data = DataLoader(TensorDataset(torch.rand(12, 1, 2, 3), torch.arange(12) % 3), 6)
    trainer.fit(module, data, data)
    return dict(trainer.callback_metrics)


NO_RAMP = (
    "ShiRegularizer acts only while epsilon is annealed, so in this run not at all; set epsilon_annealing.end_epoch"
)


@pytest.mark.parametrize(("annealing", "epsilon", "warned"), [(0, 0.05, 1), (2, 0.0, 1), (2, 0.05, 0)])
def test_without_a_ramp_it_says_that_it_does_nothing(annealing: int, epsilon: float, warned: int) -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        metrics = fit(ShiRegularizer(), annealing, epsilon)
    assert sum(str(warning.message) == NO_RAMP for warning in found) == warned
    if warned:
        assert metrics["train/shi"] == 0


def test_validation_does_not_see_them() -> None:
    frozen = {"optimizer": lambda params: torch.optim.SGD(params, lr=0.0)}
    plain, regularized = fit(annealing=3, **frozen), fit(ShiRegularizer(), annealing=3, l1=1.0, **frozen)
    assert plain["val/loss"] == regularized["val/loss"]
    terms = regularized["train/l1"] + regularized["train/shi"]
    assert plain.keys() == regularized.keys() - {"train/l1", "train/shi"}
    assert terms > 1


@pytest.mark.parametrize(("term", "name"), [({"regularizer": ShiRegularizer()}, "ShiRegularizer"), ({"l1": 1.0}, None)])
@pytest.mark.parametrize("objective", [Certified(), EXPIBP(alpha=0.5, of_batch=True), EXPIBP(alpha=0.5)])
def test_data_parallel_processes_say_which_terms_they_compute_apart(
    term: dict[str, Any], name: str | None, objective: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = CertifiedTrainingModule(
        network=nn.Sequential(nn.Flatten(), nn.Linear(6, 3)), epsilon=0.1, objective=objective, **term
    )
    module.trainer = quiet_trainer()
    monkeypatch.setattr(type(module.trainer), "world_size", 2)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        check_fit(module, population_parallel=False)
    expected = [n for n in ("EXPIBP" if getattr(objective, "of_batch", False) else None, name) if n]
    messages = [str(w.message) for w in found if "no mean over samples" in str(w.message)]
    assert messages == [
        f"{n} is no mean over samples, and each process computes it for its own part of the batch." for n in expected
    ]


@pytest.mark.parametrize("value", [-1e-6, float("nan"), float("inf")])
def test_factors_of_l1_out_of_range(value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"l1 is {value}; it must be a finite number of at least 0"):
        CertifiedTrainingModule(network=nn.Linear(2, 2), epsilon=0.1, l1=value)
