"""The end of a fit."""

from dataclasses import dataclass
from math import ceil, inf

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from gls_lightning.errors import ConfigurationError


@dataclass(frozen=True)
class RunLength:
    """The latest end of a fit, after which it does nothing more; infinite where nothing but time or a metric ends it.

    Attributes:
        steps_per_epoch: Steps of the optimizer in an epoch; infinite where it is not always the same number.
        steps: Steps of the optimizer from the start of training, those before a resumption included.
        epochs: The same in epochs, perhaps a fraction.
    """

    steps_per_epoch: float
    steps: float
    epochs: float

    def __str__(self) -> str:
        steps = "" if self.steps == inf else f" ({self.steps:g} steps)"
        return f"epoch {self.epochs:g}{steps}"


def run_length(trainer: Trainer) -> RunLength:
    """Finds the length of a fit whose training data is set up; that of a trial with ``fast_dev_run`` says nothing."""
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return RunLength(inf, inf, inf)
    batches, max_epochs = trainer.num_training_batches, trainer.max_epochs
    epochs = inf if max_epochs is None or max_epochs < 0 else max_epochs
    steps = inf if trainer.max_steps < 0 else trainer.max_steps
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    varying = any(isinstance(callback, GradientAccumulationScheduler) for callback in callbacks)
    steps_per_epoch = inf if batches == inf or varying else ceil(batches / trainer.accumulate_grad_batches)
    if steps_per_epoch < inf:
        steps = min(steps, epochs * steps_per_epoch)
        epochs = steps / max(1, steps_per_epoch)
    return RunLength(steps_per_epoch, steps, epochs)


def batches_per_epoch(trainer: Trainer, needed_by: str) -> int:
    """Counts the batches of an epoch of a fit whose training data is set up.

    Raises:
        ConfigurationError: The data set has no length; the message names who needs it.
    """
    if trainer.num_training_batches == inf:
        raise ConfigurationError(f"{needed_by} needs a training data set with a length, or trainer.limit_train_batches")
    return int(trainer.num_training_batches)
