"""Options of Lightning's trainer, checked before it is made: it lets some pass that end the run epochs later."""

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import StrategyRegistry

from gls_lightning.arguments import alternatives, require, require_writable_directory
from gls_lightning.errors import ConfigurationError

_SHARES = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches", "overfit_batches")
_SMALLEST = {
    **{"max_epochs": -1, "min_epochs": 0, "max_steps": -1, "min_steps": 0, "num_sanity_val_steps": -1},
    **{"check_val_every_n_epoch": 1, "log_every_n_steps": 0, "accumulate_grad_batches": 1, "num_nodes": 1},
    **{"reload_dataloaders_every_n_epochs": 0, "fast_dev_run": 0},
}
_UNLIMITED = ("max_epochs", "max_steps", "num_sanity_val_steps")
"""Options of which -1 means all."""
_CHOICES = {
    "gradient_clip_algorithm": ("norm", "value"),
    "profiler": ("simple", "advanced", "pytorch", "xla"),
}


def check_trainer_options(options: Mapping[str, Any]) -> None:
    """Refuses what the trainer cannot do, or not on this machine.

    Args:
        options: Arguments of ``Trainer``.

    Raises:
        ConfigurationError: Names the option, its value and what would be right.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        right = _what_would_be_right(name, value)
        require(not right, f"trainer.{name}", value, right)
    for unit in ("epochs", "steps"):
        least, most = given.get(f"min_{unit}", 0), given.get(f"max_{unit}", -1)
        if 0 <= most < least:
            raise ConfigurationError(f"trainer.min_{unit} is {least}, above trainer.max_{unit}, which is {most}")
    _check_name(given, "strategy", ["auto", *StrategyRegistry.available_strategies()])
    _check_accelerator(given)
    _check_folders(given)


def _what_would_be_right(name: str, value: Any) -> str:
    """Says what would be right in place of a wrong number or word; empty for any other value."""
    if isinstance(value, str):
        choices = _CHOICES.get(name, (value,))
        return "" if value.lower() in choices else f"one of {', '.join(choices)}"
    if not isinstance(value, int | float):
        return ""
    if name in _SMALLEST and value < _SMALLEST[name]:
        return "at least 0, or -1 for no limit" if name in _UNLIMITED else f"at least {_SMALLEST[name]}"
    if name in _SHARES and not (value >= 0 if isinstance(value, int) else 0 <= value <= 1):
        return "a number of batches, or a share of them between 0.0 and 1.0"
    if name == "val_check_interval" and not (value >= 1 if isinstance(value, int) else 0 < value <= 1):
        return "a number of batches from 1 on, or a share of them above 0.0 and up to 1.0"
    if name == "gradient_clip_val" and not 0 <= value < inf:
        return "a finite number of at least 0"
    return ""


def _check_name(options: Mapping[str, Any], key: str, names: Iterable[str]) -> None:
    value, known = options.get(key, "auto"), sorted(names)
    if isinstance(value, str) and value.lower() not in known:
        short = [name for name in known if "_" not in name or name == "ddp_fork"]
        near = alternatives(value, known) or f"; there are {', '.join(short)}"
        raise ConfigurationError(f"trainer.{key} is {value}, which there is not{near}")


def _check_accelerator(options: Mapping[str, Any]) -> None:
    """Checks that the accelerator is there, and as many devices of it as are asked for."""
    _check_name(options, "accelerator", [*AcceleratorRegistry.available_accelerators(), "auto", "gpu"])
    accelerator = str(options.get("accelerator", "auto")).lower()
    counts: dict[str, Callable[[], int]] = {"cuda": torch.cuda.device_count, "mps": torch.mps.device_count}
    there = {name: count() for name, count in counts.items()}
    there["gpu"] = there["cuda"] or there["mps"]
    if there.get(accelerator) == 0:
        raise ConfigurationError(
            f"trainer.accelerator is {accelerator}, which PyTorch does not find on this machine; give cpu or auto"
        )
    number = there.get(accelerator, there["gpu"] if accelerator == "auto" else 0)
    devices = options.get("devices", "auto")
    right = _right_devices(devices, number)
    require(not right, "trainer.devices", devices, right)


def _right_devices(devices: Any, there: int) -> str:
    """Says what would be right, on a machine with so many GPUs or with none, if this is wrong."""
    words = devices.split(",") if isinstance(devices, str) else devices if isinstance(devices, list) else [devices]
    try:
        numbers = [int(word) for word in words if word != ""]
    except (ValueError, TypeError):
        return "" if devices == "auto" else "auto or a number"
    one = len(words) == 1 and not isinstance(devices, list)
    if not there:
        return "" if one and numbers[0] > 0 else "auto or a number of processes from 1 on: there is no GPU"
    if one:
        return "" if numbers[0] == -1 or 0 < numbers[0] <= there else f"auto, or from 1 to {there}, the GPUs there are"
    right = all(0 <= number < there for number in numbers) and len(set(numbers)) == len(numbers) > 0
    return "" if right else f"a list of different numbers from 0 to {there - 1}, those of the GPUs there are"


def _check_folders(options: Mapping[str, Any]) -> None:
    """Checks that results can be written where they are to lie."""
    loggers = options.get("logger", [])
    loggers = [loggers] if isinstance(loggers, Logger) else loggers
    folders = [("trainer.default_root_dir", options.get("default_root_dir"))]
    if isinstance(loggers, list | tuple):
        folders += [("trainer.logger.save_dir", logger.save_dir) for logger in loggers]
    callbacks = options.get("callbacks", [])
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if isinstance(callback, ModelCheckpoint):
            folders.append(("checkpoint.dirpath", callback.dirpath))
    for name, folder in folders:
        if folder is not None and "://" not in str(folder):
            require_writable_directory(folder, name)
