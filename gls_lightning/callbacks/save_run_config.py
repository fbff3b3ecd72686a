"""The record of how a run was configured."""

import time
from datetime import UTC, datetime

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from gls_lightning.run_files import CONFIG, origin_of_run, write_whole
from gls_lightning.training import run_directory


class SaveRunConfig(SaveConfigCallback):
    """Writes the resolved configuration of a training run beside its checkpoints, and to its loggers.

    The file begins with a comment that names the versions of this package, PyTorch and Lightning, the commit, when
    training started, and, once it has ended, how long it took.

    Args:
        parser: The parser of the command line.
        config: The resolved configuration.
        given: The configuration to be written, where that of the run has a directory that another run must not have.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace, given: Namespace | None = None) -> None:
        super().__init__(parser, given or config, save_to_log_dir=False)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Does nothing: the run's directory is known only when training starts."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the configuration; evaluation never does."""
        if not trainer.is_global_zero:
            return
        self._text = text = self.parser.dump(self.config, skip_unset=False, skip_link_targets=False)
        for logger in trainer.loggers:
            logger.log_hyperparams(yaml.safe_load(text))
        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self._write(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Adds how long training took."""
        if trainer.is_global_zero:
            self._write(trainer, time.monotonic() - self._clock)

    def _write(self, trainer: Trainer, seconds: float | None = None) -> None:
        if (directory := run_directory(trainer)) is not None:
            directory.mkdir(parents=True, exist_ok=True)
            text = f"{origin_of_run(self._started, seconds)}\n{self._text}"
            write_whole(directory / CONFIG, lambda draft: draft.write_text(text))
