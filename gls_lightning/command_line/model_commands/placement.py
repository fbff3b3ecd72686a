"""Places where the loggers of a command write: beside the run that it is about."""

import os
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_warn

from gls_lightning.configuration import compose
from gls_lightning.csv_logger import RunCSVLogger
from gls_lightning.errors import ConfigurationError
from gls_lightning.reports import FlatConfig, flatten, settings
from gls_lightning.run_files import CHECKPOINTS, CONFIG, run_of_checkpoint

CSV, TENSORBOARD = "CSVLogger", "TensorBoardLogger"
MAY_DIFFER = (
    *("trainer.max_epochs", "trainer.min_epochs", "trainer.max_steps", "trainer.min_steps", "trainer.max_time"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"),
)
"""Keys of a run's configuration that its later parts may change: how long it trains, and on what."""
PLACE = ("trainer.logger.init_args.save_dir", "trainer.logger.init_args.name")


def run_of_resumed(checkpoint: Path, loggers: Any, config: str) -> Path | None:
    """Finds the directory in which a fit goes on: its checkpoint's, if that is a run of the same configuration.

    Args:
        checkpoint: What the fit goes on from.
        loggers: The section of the configuration.
        config: The whole configuration of the fit, as YAML.

    Returns:
        The directory; None where the fit gets one of its own.
    """
    run = run_of_checkpoint(checkpoint)
    if checkpoint.parent.name != CHECKPOINTS or not (run / CONFIG).is_file() or not _decides_the_directory(loggers):
        return None
    if not os.access(run, os.W_OK) or not os.access(checkpoint.parent, os.W_OK):
        rank_zero_warn(f"{run} is not writable, so training goes on in another directory.")
        return None
    try:
        before = flatten(compose(run / CONFIG).content)
    except ConfigurationError as error:
        rank_zero_warn(f"Training goes on in another directory: {error}.")
        return None
    if different := _differences(before, flatten(yaml.safe_load(config))):
        rank_zero_warn(f"Training goes on in another directory than {run}, whose {CONFIG} differs in {different}.")
        return None
    return run


def _decides_the_directory(loggers: Any) -> bool:
    """Says whether the first logger decides where a run lies, and is not told where."""
    first = next(iter(_sections(loggers)), None)
    return first is not None and _kind(first) in (CSV, TENSORBOARD) and first.init_args.get("version") is None


def _differences(before: FlatConfig, now: FlatConfig) -> str:
    matter = {*settings(before), *settings(now), *PLACE}.difference(MAY_DIFFER)
    keys = sorted(key for key in matter if before.get(key) != now.get(key))
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def log_into_run(loggers: Any, run: Path) -> None:
    """Lets the loggers of a fit go on in the directory of its run."""
    for logger in _sections(loggers):
        if _kind(logger) in (CSV, TENSORBOARD):
            _place(logger, run.parent, run.name)
        if _kind(logger) == CSV:
            logger.class_path = f"{RunCSVLogger.__module__}.{RunCSVLogger.__qualname__}"


def loggers_of_evaluation(loggers: Any, directory: Path) -> Any:
    """Leaves out loggers whose files nothing reads, for a command that makes no run.

    Args:
        loggers: The section of the configuration.
        directory: Where the command's results lie.
    """
    kept = [logger for logger in _sections(loggers) if _kind(logger) != CSV]
    for logger in kept:
        if _kind(logger) == TENSORBOARD:
            _place(logger, directory, "")
    return kept or False


def _place(logger: Any, folder: Path, version: str) -> None:
    for name, value in {"save_dir": str(folder), "name": "", "version": version}.items():
        logger.init_args[name] = value


def _sections(loggers: Any) -> list[Any]:
    sections = loggers if isinstance(loggers, list) else [loggers]
    return [section for section in sections if hasattr(section, "class_path")]


def _kind(logger: Any) -> str:
    name = str(logger.class_path).rpartition(".")[2]
    return CSV if name == RunCSVLogger.__name__ else name
