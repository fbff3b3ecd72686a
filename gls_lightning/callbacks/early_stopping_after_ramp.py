"""Early stopping that knows the ramp of the perturbation radius."""

from math import inf
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from gls_lightning.training import BoundedNetwork


class EarlyStoppingAfterRamp(EarlyStopping):
    """Ends training when the validation metric no longer improves, but looks at it only after the ramp of the radius.

    The metrics are of the target radius, and while the network learns a smaller one they say nothing about what is to
    come: they may rest near zero, or fall. The first value that counts is that of the first epoch that trains with the
    target radius throughout: ``end_epoch`` of ``EpsilonAnnealing``, or the last of its milestones. Without a ramp,
    every one counts.

    Args:
        monitor: The metric.
        mode: ``max`` if more of it is better, ``min`` if less.
        patience: After how many validations in a row without improvement training ends.
        **options: Further options of Lightning's ``EarlyStopping``.
    """

    def __init__(
        self,
        monitor: str = "val/certified_accuracy",
        mode: Literal["min", "max"] = "max",
        patience: int = 10,
        **options: Any,
    ) -> None:
        super().__init__(monitor, mode=mode, patience=patience, **options)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the metric here where every epoch ends with one validation."""
        if self._ramp_is_over(trainer, pl_module):
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the metric here otherwise."""
        if self._ramp_is_over(trainer, pl_module):
            super().on_validation_end(trainer, pl_module)
        elif not trainer.sanity_checking:
            self._validate_condition_metric(trainer.callback_metrics)  # a misspelt name is said now

    def _ramp_is_over(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        """Says whether this epoch trains with the target radius throughout."""
        if not isinstance(pl_module, BoundedNetwork) or trainer.num_training_batches == inf:
            return True
        first_step = trainer.current_epoch * int(trainer.num_training_batches)
        return pl_module.epsilon_schedule.fraction(first_step) >= 1
