"""The directory of a run that never started."""

from contextlib import suppress
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger

from gls_lightning.run_files import CONFIG, HPARAMS

_OF_THE_START = {CONFIG, HPARAMS}
"""Files that are written as a run starts."""


class RefusedRun(Callback):
    """Removes what a run has made that was refused before its first step, unless there is more than its options."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Removes it on the first process."""
        refused = isinstance(exception, ValueError | MisconfigurationException)
        if not (refused and trainer.is_global_zero and trainer.global_step == 0):
            return
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger) and (directory := Path(logger.log_dir)).is_dir():
                _remove(directory, Path(logger.save_dir))


def _remove(directory: Path, top: Path) -> None:
    """Removes the directory and those above it up to ``top``, as far as they hold nothing else."""
    if not {path.name for path in directory.iterdir()} <= _OF_THE_START:
        return
    for path in directory.iterdir():
        path.unlink()
    with suppress(OSError):  # one that holds more cannot be removed
        for folder in (directory, *directory.parents):
            folder.rmdir()
            if folder == top:
                break
