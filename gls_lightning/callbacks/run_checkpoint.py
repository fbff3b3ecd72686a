"""Checkpoints from which a run goes on as if it had never ended."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class RunCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, with what it leaves out for runs that go on in their directory.

    A checkpoint that is due at the last batch of an epoch is made at the end of the epoch: a run that goes on from that
    batch would leave out the validation. Checkpoints made before are found again in a directory that was moved or that
    is named by another path.
    """

    @property
    def state_key(self) -> str:
        """As Lightning's own, so that checkpoints know the state of either."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Makes the checkpoint of this step, if one is due and more batches follow."""
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes the checkpoint of this epoch, and that of its last step, if they are due."""
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.is_last_batch:
            super().on_train_batch_end(trainer, pl_module, None, None, -1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what an earlier part of the run knew of its checkpoints."""
        folder = str(self.dirpath)
        names = ("best_model_path", "last_model_path", "kth_best_model_path")
        paths = [state_dict.get(name) for name in names]
        if any(path and Path(folder, Path(path).name).is_file() for path in paths):
            state_dict = {
                **state_dict,
                **{name: _inside(folder, path) for name, path in zip(names, paths, strict=True) if path},
                "best_k_models": {_inside(folder, p): score for p, score in state_dict["best_k_models"].items()},
                "dirpath": self.dirpath,
            }
        super().load_state_dict(state_dict)


def _inside(folder: str, path: str) -> str:
    return str(Path(folder, Path(path).name))
