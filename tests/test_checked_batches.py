"""Bad batches end every command in one line, before a number comes from them."""

import math
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from common.trainers import quiet_trainer
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from gls_lightning import CertifiedTrainingModule
from gls_lightning.attacks import PGD
from gls_lightning.callbacks import LossLandscapeLogger, PeriodicCertification, TrainingStatistics
from gls_lightning.certification import Certifier
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Backprop
from gls_lightning.main import main
from gls_lightning.relaxations import IBP

CONFIGS = Path(__file__).parent / "configs"
SpoiltImages: Any = runpy.run_path(str(CONFIGS / "spoilt_images.py"))["SpoiltImages"]
TINY = ["--config", str(CONFIGS / "tiny.yaml"), "--imports=[spoilt_images]", f"--import_paths=[{CONFIGS}]"]
TINY += ["--data=spoilt_images.SpoiltImages", "--data.part=test"]
VALUES = {
    "nan": r"batch 7, position 7: the image holds nan at \[0, 3, 4\]; images lie in \[0, 1\]",
    "bytes": r"batch 18, position 12: the image holds \d+ at \[0, 0, 0\]; images lie in \[0, 1\], so divide bytes",
    "labels": "batch 0, position 9: the label is 10; labels are counted from 0, so those of 10 classes are 0 to 9",
    "ignored": "batch 3, position 5: the label is -100; labels are counted from 0",
}
TYPES = {
    "dictionaries": "batch 0 is a dictionary with the keys image, label; a batch is",
    "one-hot": r"batch 0: labels are of shape \(16, 10\), as one-hot or soft labels are",
}
EMPTY = {"empty": "data loader gives no batch"}


class Rows(Logger):
    """Keeps what is logged."""

    name, version = "rows", 0

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append({**metrics, "step": -1 if step is None else step})

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


def module(**options: Any) -> CertifiedTrainingModule:
    torch.manual_seed(0)
    defaults = {
        "network": nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10)),
        "epsilon": 0.01,
        "relaxation": IBP(),
        "estimator": Backprop(),
        "attack": PGD(steps=1, restarts=1),
        "certifier": Certifier(relaxations=[IBP()], use_attack=False),
    }
    return CertifiedTrainingModule(**{**defaults, **options})


def trainer(**options: Any) -> Trainer:
    return quiet_trainer(**{"max_epochs": 1, "logger": Rows(), "log_every_n_steps": 4, **options})


@pytest.fixture(params=["at once", "deferred"])
def deferred(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The check of a CPU, and that of a GPU."""
    if request.param == "deferred":
        monkeypatch.setattr("gls_lightning.training.network.reading_waits", lambda images: True)
    return request.param == "deferred"


@pytest.mark.parametrize(("fault", "message"), [*(VALUES | TYPES | EMPTY).items()])
@pytest.mark.parametrize(("command", "part"), [("fit", "train"), ("fit", "val"), ("validate", "val"), ("test", "test")])
def test_every_loop(command: str, part: str, fault: str, message: str, deferred: bool) -> None:
    runner = trainer(num_sanity_val_steps=0)
    with pytest.raises(ConfigurationError, match=rf"(^|\s){part} {message}") as refused:
        getattr(runner, command)(module(), datamodule=SpoiltImages(part=part, fault=fault))
    assert "\n" not in str(refused.value)
    of_part = [row for row in runner.logger.rows if any(name.startswith(f"{part}/") for name in row)]
    assert len(of_part) == (4 if (part, fault) == ("train", "bytes") else 1 if (part, fault) == ("train", "nan") else 0)


def test_clean_data_train_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []
    for reading_waits in (False, True):
        monkeypatch.setattr("gls_lightning.training.network.reading_waits", lambda images, waits=reading_waits: waits)
        trained = module()
        trainer(max_steps=5).fit(trained, datamodule=SpoiltImages(part="", fault=""))
        weights.append(trained.network.state_dict())
    torch.testing.assert_close(*weights, rtol=0, atol=0)


@pytest.mark.parametrize("fault", ["nan", "bytes", "ignored"])
def test_no_checkpoint_comes_from_bad_values(fault: str, deferred: bool, tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    with pytest.raises(ConfigurationError, match=VALUES[fault]):
        trainer(callbacks=[saving], enable_checkpointing=True, log_every_n_steps=1000).fit(
            module(), datamodule=SpoiltImages(part="train", fault=fault)
        )
    batch = {"nan": 7, "bytes": 18, "ignored": 3}[fault]
    assert max(int(path.stem.removeprefix("step=")) for path in tmp_path.glob("*.ckpt")) == batch


def test_a_run_after_a_refused_one(deferred: bool) -> None:
    trained = module()
    with pytest.raises(ConfigurationError, match="train batch 3"):
        trainer().fit(trained, datamodule=SpoiltImages(part="train", fault="ignored"))
    trainer(max_steps=6).fit(trained, datamodule=SpoiltImages(part="", fault=""))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_images_are_taken_in_the_precision_of_the_network(dtype: torch.dtype) -> None:
    class Converted(SpoiltImages):
        def _loader(self, part: str) -> Any:
            loader = super()._loader(part)
            loader.dataset.tensors = (
                loader.dataset.tensors[0].to(dtype).to(self.dtype),
                loader.dataset.tensors[1].int(),
            )
            return loader

    results = []
    for data_type, network_type in ((torch.float32, torch.float32), (dtype, torch.float32), (dtype, torch.float64)):
        data = Converted(part="", fault="")
        data.dtype = data_type
        trained = module()
        trained.network.to(network_type)
        runner = trainer(callbacks=[TrainingStatistics(gradient=True, relu_states=True, box_width=True)], max_steps=5)
        runner.fit(trained, datamodule=data)
        (tested,) = runner.test(trained, datamodule=data, verbose=False)
        results.append({**{name: value.item() for name, value in runner.callback_metrics.items()}, **tested})
    for result in results[1:]:
        assert result == pytest.approx(results[0], rel=1e-3, nan_ok=True)
    assert not math.isnan(results[0]["test/certified_accuracy"])


@pytest.mark.parametrize("callback", [PeriodicCertification, LossLandscapeLogger, TrainingStatistics])
@pytest.mark.parametrize("fault", ["nan", "labels", "dictionaries", "one-hot"])
def test_callbacks_that_read_validation_images_themselves(callback: Any, fault: str) -> None:
    """They may come before the first validation step."""
    options: dict[Any, dict[str, Any]] = {
        LossLandscapeLogger: {"points": 3, "population_sizes": [2]},
        TrainingStatistics: {"relu_states": True},
    }
    looking = callback(samples=200, **options.get(callback, {}))
    runner = trainer(num_sanity_val_steps=0, callbacks=[looking], limit_val_batches=0.05)
    with pytest.raises(ConfigurationError, match=r"label|nan|dictionary|one-hot") as refused:
        runner.fit(module(input_shape=(1, 8, 8)), datamodule=SpoiltImages(part="val", fault=fault))
    assert "\n" not in str(refused.value)
    assert not any("certification/certified_accuracy" in row for row in runner.logger.rows)


def test_batch_norm_reads_training_images_that_do_not_train() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
    with pytest.raises(ConfigurationError, match=r"train batch \d+, position \d+: the image holds \d+ at \[0, 0, 0\]"):
        trainer(limit_train_batches=10).fit(
            module(network=network), datamodule=SpoiltImages(part="train", fault="bytes")
        )


@pytest.mark.usefixtures("clean_place")
@pytest.mark.parametrize(
    "words",
    [
        ["test"],
        ["certify", "--samples=8", "--model.input_shape=[1,8,8]"],
        ["tightness", "--num_radii=2"],
        ["landscape", "--samples=150", "--points=3", "--population_sizes=[1]"],
        ["export", "--samples=200"],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan", r"position \d+.*: the image holds nan at \[0, 3, 4\]"),
        ("one-hot", "(batch 0|the first test image): labels are of shape"),
    ],
)
def test_every_command_on_test_images(
    words: list[str], fault: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *options = words
    with pytest.raises(SystemExit, match="2"):
        main([command, *TINY, *options, f"--data.fault={fault}"])
    printed = capsys.readouterr()
    (line,) = (line for line in printed.err.splitlines() if line.startswith("gls: "))
    assert re.search(message, line)
    assert "accuracy" not in printed.out
    assert not list(Path().rglob("summary.json"))


class NoImages(IterableDataset[Any]):
    """Of a length that nobody knows before."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_a_stream_that_ends_at_once(command: str) -> None:
    part = {"fit": "train", "validate": "val", "test": "test"}[command]
    with pytest.raises(ConfigurationError, match=f"the {part} data loader gives no batch"):
        getattr(trainer(), command)(module(), DataLoader(NoImages(), batch_size=4))


def test_a_last_batch_that_is_dropped_though_it_is_the_only_one() -> None:
    images = DataLoader(TensorDataset(torch.rand(10, 1, 8, 8), torch.arange(10)), batch_size=16, drop_last=True)
    with pytest.raises(ConfigurationError, match=r"train data loader gives no batch; .* where drop_last is true"):
        trainer().fit(module(), images)
    trainer(limit_train_batches=0).fit(module(), images)  # what is asked for
