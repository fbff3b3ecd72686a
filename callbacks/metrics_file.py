"""The metrics of a run beside its checkpoints."""

import warnings
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger

from gls_lightning.callbacks.save_run_config import run_directory


class MetricsFile(Callback):
    """Writes ``metrics.csv`` into the directory of a run whose loggers, W&B for example, keep the metrics elsewhere.

    ``gls report`` reads it. Nothing is done for a run with a CSVLogger there, without any logger, or with
    ``trainer.fast_dev_run``. The file of an earlier part of a run that goes on in its directory is kept as
    ``metrics-1.csv`` and so on.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Adds the logger."""
        directory = run_directory(trainer)
        if trainer.fast_dev_run or not trainer.loggers or directory is None:  # type: ignore[attr-defined]
            return
        if any(isinstance(log, CSVLogger) and Path(log.log_dir) == directory for log in trainer.loggers):
            return
        if trainer.is_global_zero and (directory / "metrics.csv").exists():
            number = 1 + len(list(directory.glob("metrics-*.csv")))
            (directory / "metrics.csv").rename(directory / f"metrics-{number}.csv")
        logger = CSVLogger(directory, name="", version="")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the directory is not empty: what is in it stays
            _ = logger.experiment
        trainer.loggers = [*trainer.loggers, logger]
