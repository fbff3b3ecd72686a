"""The metrics of a run beside its checkpoints."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_warn

from gls_lightning.callbacks.save_run_config import run_directory


class MetricsFile(Callback):
    """Writes ``metrics.csv`` into the directory of a run whose loggers, W&B for example, keep the metrics elsewhere.

    ``gls report`` reads it. Nothing is done for a run with a CSVLogger, and for one without any logger.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Adds the logger; a file of an earlier part of the run stays as it is."""
        directory = run_directory(trainer)
        if not trainer.loggers or directory is None or any(isinstance(log, CSVLogger) for log in trainer.loggers):
            return
        if (directory / "metrics.csv").exists():
            rank_zero_warn(f"{directory}/metrics.csv holds the metrics of an earlier part of this run, and only these.")
        else:
            trainer.loggers = [*trainer.loggers, CSVLogger(directory, name="", version="")]
