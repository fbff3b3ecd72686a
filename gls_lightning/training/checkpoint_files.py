"""Where the checkpoints of a run lie."""

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from gls_lightning.errors import ConfigurationError
from gls_lightning.weights import read_checkpoint


def checkpoint_files(trainer: Trainer) -> dict[str, str]:
    """Paths of the run's ``last checkpoint`` and ``best checkpoint``, as far as they were written."""
    files: dict[str, str] = {}
    for checkpoint in trainer.checkpoint_callbacks:
        if isinstance(checkpoint, ModelCheckpoint):
            kind = "best checkpoint" if checkpoint.monitor else "last checkpoint"
            paths = (("last checkpoint", checkpoint.last_model_path), (kind, checkpoint.best_model_path))
            files |= {name: path for name, path in paths if path}
    return files


def intact_checkpoint(trainer: Trainer) -> str:
    """The newest checkpoint of the run that can be read, with its epoch and step; empty if there is none."""
    folders = {c.dirpath for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.dirpath}
    files = [file for folder in folders for file in Path(folder).glob("*.ckpt")]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            content = read_checkpoint(file)
        except ConfigurationError:
            continue
        return f"{file} (epoch {content['epoch']}, step {content['global_step']})"
    return ""
