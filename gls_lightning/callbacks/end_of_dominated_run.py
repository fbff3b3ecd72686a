"""The end of a run of a search that has no prospect of a place on the front."""

from collections.abc import Sequence
from functools import partial
from math import inf
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from gls_lightning.arguments import require
from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import PRUNED, write_whole
from gls_lightning.training import BoundedNetwork, run_directory, run_length

MONITORED = "val/natural_accuracy", "val/certified_accuracy"


class EndOfDominatedRun(Callback):
    """Ends training when another point is better in natural and in certified accuracy, each by a margin.

    It waits for a share of the epochs that train with the target radius throughout, at least for one of them: during
    the ramp of the radius the accuracies say little about those to come, and soon after it networks that learn slowly
    still lie behind. The file ``pruned.txt`` of the run then says why it ended.

    Args:
        front: Natural and certified accuracy of each of the points, fractions.
        margin: The margin, a fraction.
        patience: The share, between the end of the ramp and the end of training.

    Raises:
        ConfigurationError: The margin or the patience is not between 0 and 1, or training has no last epoch.
    """

    def __init__(self, front: Sequence[Sequence[float]], margin: float, patience: float = 0.5) -> None:
        require(0 <= margin < 1, "margin", margin, "at least 0 and less than 1")
        require(0 <= patience <= 1, "patience", patience, "from 0 to 1")
        self.front, self.margin, self.patience = front, margin, patience

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there is a last epoch."""
        if self.patience and run_length(trainer).epochs == inf:
            raise ConfigurationError(
                f"patience is {self.patience}, a share of the epochs, but training has no last epoch; set "
                "trainer.max_epochs, or patience to 0"
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the accuracies."""
        is_last = trainer.current_epoch + 1 >= run_length(trainer).epochs
        if trainer.sanity_checking or is_last or not self._has_waited(trainer, pl_module):
            return
        now = [float(trainer.callback_metrics[name]) for name in MONITORED]
        for point in self.front:
            if all(best >= value + self.margin for best, value in zip(point, now, strict=True)):
                self._end(trainer, now, point)
                return

    def _has_waited(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        epochs = trainer.current_epoch + 1
        with_target = sum(_trains_with_target(trainer, pl_module, epoch) for epoch in range(epochs))
        if not self.patience:
            return with_target > 0
        behind_ramp = run_length(trainer).epochs - (epochs - with_target)
        return with_target >= max(1, self.patience * behind_ramp)

    def _end(self, trainer: Trainer, now: Sequence[float], point: Sequence[float]) -> None:
        said = "after epoch {}: natural {:.4f}, certified {:.4f}; another run has {:.4f} and {:.4f}"
        reason = said.format(trainer.current_epoch, *now, *point)
        rank_zero_info(f"Training ends {reason}.")
        trainer.should_stop = True
        if trainer.is_global_zero and (directory := run_directory(trainer)) is not None:
            directory.mkdir(parents=True, exist_ok=True)
            write_whole(directory / PRUNED, partial(Path.write_text, data=reason + "\n"))


def _trains_with_target(trainer: Trainer, pl_module: LightningModule, epoch: int) -> bool:
    """Says whether an epoch trains with the target radius throughout."""
    if not isinstance(pl_module, BoundedNetwork) or trainer.num_training_batches == inf:
        return True
    return pl_module.epsilon_schedule.fraction(epoch * int(trainer.num_training_batches)) >= 1
