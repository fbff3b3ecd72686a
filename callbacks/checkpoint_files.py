"""Where the checkpoints of a run lie."""

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


def checkpoint_files(trainer: Trainer) -> dict[str, str]:
    """Paths of the run's ``last checkpoint`` and ``best checkpoint``, as far as they were written."""
    files: dict[str, str] = {}
    for checkpoint in trainer.checkpoint_callbacks:
        if isinstance(checkpoint, ModelCheckpoint):
            kind = "best checkpoint" if checkpoint.monitor else "last checkpoint"
            paths = (("last checkpoint", checkpoint.last_model_path), (kind, checkpoint.best_model_path))
            files |= {name: path for name, path in paths if path}
    return files
