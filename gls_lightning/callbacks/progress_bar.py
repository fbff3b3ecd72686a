"""The progress bar of training."""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

_SECONDS = 0.25
"""Time between two drawings, less than which nobody can read."""


class PacedProgressBar(RichProgressBar):
    """Lightning's rich progress bar, drawn a few times a second.

    Lightning's own is drawn at every batch and reads the metrics for it, for which a GPU has to finish its work.
    """

    _drawn = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draws the bar if the last time is long enough ago, or if the epoch ends."""
        now = time.monotonic()
        if now - self._drawn >= _SECONDS or trainer.is_last_batch:
            self._drawn = now
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
