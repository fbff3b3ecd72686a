"""Values of the trainer's options, on machines of several kinds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from gls_lightning.cli import GLSTrainer
from gls_lightning.command_line.model_commands.trainer_options import check_trainer_options
from gls_lightning.errors import ConfigurationError


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("max_epochs", [-2], [-1, 0, 5, None]),
        ("min_epochs", [-1], [0, 1]),
        ("max_steps", [-2], [-1, 0, 9]),
        ("min_steps", [-1], [0]),
        ("num_nodes", [0, -1], [1]),
        ("limit_train_batches", [-1, -0.5, 1.5], [0, 0.5, 1.0, 3, None]),
        ("limit_val_batches", [-1, 2.0], [0.0, 7]),
        ("overfit_batches", [-1, 1.1], [0, 0.1]),
        ("val_check_interval", [0, -1, 0.0, 1.5], [1, 0.25, 1.0, "00:00:15:00"]),
        ("check_val_every_n_epoch", [0, -1], [1, None]),
        ("num_sanity_val_steps", [-2], [-1, 0]),
        ("log_every_n_steps", [-1], [0, 1]),
        ("accumulate_grad_batches", [0, -1], [1]),
        ("gradient_clip_val", [-1, float("inf"), float("nan")], [0, 1.5]),
        ("gradient_clip_algorithm", ["norms"], ["norm", "value"]),
        ("reload_dataloaders_every_n_epochs", [-1], [0, 1]),
        ("fast_dev_run", [-1], [False, True, 3]),
        ("profiler", ["simpel"], ["simple"]),
        ("strategy", ["ddpp"], ["ddp", "auto"]),
        ("accelerator", ["gppu"], ["cpu", "auto"]),
    ],
)
def test_ranges(name: str, wrong: list[Any], right: list[Any]) -> None:
    for value in wrong:
        with pytest.raises(ConfigurationError, match=rf"^trainer\.{name} is '?{value}'?[;,] .*\b(must be|near:) "):
            check_trainer_options({name: value})
    for value in right:
        check_trainer_options({name: value})


def test_a_smallest_above_the_largest() -> None:
    with pytest.raises(ConfigurationError, match=r"trainer\.min_epochs is 5, above trainer\.max_epochs, which is 1"):
        check_trainer_options({"min_epochs": 5, "max_epochs": 1})
    check_trainer_options({"min_epochs": 5, "max_epochs": -1})


@pytest.mark.parametrize(
    ("gpus", "accelerator", "devices", "message"),
    [
        (0, "gpu", "auto", "trainer.accelerator is gpu, which PyTorch does not find on this machine"),
        (0, "cpu", 0, "trainer.devices is 0; it must be auto or a number of processes from 1 on"),
        (0, "auto", -1, "trainer.devices is -1; it must be auto or a number of processes"),
        (0, "auto", [0, 1], "trainer.devices is .0, 1.; it must be auto or a number of processes"),
        (0, "auto", "two", "trainer.devices is 'two'; it must be auto or a number"),
        (1, "gpu", 2, "trainer.devices is 2; it must be auto, or from 1 to 1, the GPUs there are"),
        (2, "gpu", 0, "trainer.devices is 0; it must be auto, or from 1 to 2"),
        (2, "auto", [0, 2], "trainer.devices is .0, 2.; it must be a list of different numbers from 0 to 1"),
        (2, "auto", [0, 0], "it must be a list of different numbers"),
        (2, "auto", "1,3", "trainer.devices is '1,3'; it must be a list of different numbers from 0 to 1"),
    ],
)
def test_devices(gpus: int, accelerator: str, devices: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.mps, "device_count", lambda: 0)
    with pytest.raises(ConfigurationError, match=message):
        check_trainer_options({"accelerator": accelerator, "devices": devices})


@pytest.mark.parametrize(
    ("gpus", "accelerator", "devices"),
    [
        (0, "cpu", 2),
        (0, "auto", "auto"),
        (2, "gpu", 2),
        (2, "gpu", -1),
        (2, "auto", [1]),
        (2, "gpu", "0,1"),
        (2, "cpu", 4),
    ],
)
def test_devices_that_are_there(gpus: int, accelerator: str, devices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    check_trainer_options({"accelerator": accelerator, "devices": devices})


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below = str(tmp_path / "file/below")
    for key, options in {
        "trainer.default_root_dir": {"default_root_dir": below},
        "trainer.logger.save_dir": {"logger": CSVLogger(below)},
        "checkpoint.dirpath": {"callbacks": [ModelCheckpoint(dirpath=below)]},
    }.items():
        with pytest.raises(ConfigurationError, match=f"^{key} is {below}, below {tmp_path}/file, which is a file"):
            check_trainer_options(options)
    check_trainer_options({"default_root_dir": tmp_path / "to/come", "logger": CSVLogger(tmp_path)})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_trainer_in_python() -> None:
    with pytest.raises(ConfigurationError, match="max_epochs is -3"):
        GLSTrainer(max_epochs=-3)
