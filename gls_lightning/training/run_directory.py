"""The directory and the checkpoints of a run that is under way."""

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from gls_lightning.run_files import run_of_checkpoint


def run_directory(trainer: Trainer) -> Path | None:
    """Finds the directory of a run: that of its checkpoints, or the one above where they have a folder of their own."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath:
            return run_of_checkpoint(Path(callback.dirpath, "any.ckpt"))
    # Not trainer.log_dir, which waits for the other processes.
    directories = (getattr(logger, "log_dir", None) or logger.save_dir for logger in trainer.loggers)
    return next((Path(directory) for directory in directories if directory), None)


def checkpoint_files(trainer: Trainer) -> dict[str, str]:
    """Returns the paths of the run's ``last checkpoint`` and ``best checkpoint``, as far as they were written."""
    files: dict[str, str] = {}
    for checkpoint in trainer.checkpoint_callbacks:
        if isinstance(checkpoint, ModelCheckpoint):
            kind = "best checkpoint" if checkpoint.monitor else "last checkpoint"
            paths = (("last checkpoint", checkpoint.last_model_path), (kind, checkpoint.best_model_path))
            files |= {name: path for name, path in paths if path}
    return files
