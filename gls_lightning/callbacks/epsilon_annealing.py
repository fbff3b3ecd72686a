"""The ramp of the perturbation radius."""

from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from gls_lightning.errors import ConfigurationError
from gls_lightning.training import certified_module, run_length

Shape = Literal["smooth", "linear"]


class EpsilonAnnealing(Callback):
    """Raises the radius from 0 to the module's target, a little with every batch.

    Between the two epochs, counted from 0, ``linear`` rises evenly. ``smooth`` is the ramp of the certified training
    literature (Gowal et al., 2018; Shi et al., 2021; CTBench): a quartic curve for the first quarter of the batches,
    then the straight line that continues it without a kink. The radius is a function of the number of batches so
    far, so nothing needs to be saved.

    Args:
        start_epoch: Training uses radius 0 before this epoch.
        end_epoch: Training uses the target radius from this epoch on; 0 for a constant radius.
        shape: ``smooth`` or ``linear``.

    Raises:
        ConfigurationError: The epochs are negative or in the wrong order.
    """

    def __init__(self, *, start_epoch: int = 0, end_epoch: int = 0, shape: Shape = "smooth") -> None:
        if not 0 <= start_epoch <= end_epoch:
            raise ConfigurationError(
                f"epsilon_annealing has start_epoch {start_epoch} and end_epoch {end_epoch}; it needs "
                "0 <= start_epoch <= end_epoch"
            )
        if shape not in ("smooth", "linear"):
            raise ConfigurationError(f"epsilon_annealing.shape is {shape!r}; it must be smooth or linear")
        self.start_epoch = start_epoch
        self.end_epoch = end_epoch
        self.shape = shape

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there is a radius to anneal."""
        certified_module(self, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warns of a ramp that ends behind the fit."""
        length, target = run_length(trainer), certified_module(self, pl_module).epsilon
        if self.end_epoch and (self.end_epoch > length.epochs or self.start_epoch >= length.epochs):
            batches_per_epoch = _batches_per_epoch(trainer)
            largest = self.fraction(max(0, round(length.epochs * batches_per_epoch) - 1), batches_per_epoch)
            rank_zero_warn(
                f"epsilon_annealing has end_epoch {self.end_epoch}, but training ends with {length}: "
                f"the radius gets to {target * largest:.3g} at most, {largest:.1%} of the target {target:g}"
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Sets the radius of this batch."""
        module = certified_module(self, pl_module)
        module.current_epsilon.fill_(module.epsilon * self.current_fraction(trainer))

    def current_fraction(self, trainer: Trainer) -> float:
        """The share of the target radius that the current batch of a fit uses."""
        if not self.end_epoch:
            return 1.0
        return self.fraction(trainer.fit_loop.epoch_loop.total_batch_idx, _batches_per_epoch(trainer))

    def fraction(self, batches: int, batches_per_epoch: int) -> float:
        """The share of the target radius after ``batches`` batches."""
        start, end = self.start_epoch * batches_per_epoch, self.end_epoch * batches_per_epoch
        ramp = smooth_ramp if self.shape == "smooth" else linear_ramp
        return ramp(batches, start, end)


def ramps_of(trainer: Trainer) -> list[EpsilonAnnealing]:
    """The ramps among the trainer's callbacks."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, EpsilonAnnealing)]


def _batches_per_epoch(trainer: Trainer) -> int:
    if trainer.num_training_batches == float("inf"):
        raise ConfigurationError("epsilon_annealing needs a training data set with a length")
    return int(trainer.num_training_batches)


def linear_ramp(step: int, start: int, end: int) -> float:
    """Rises evenly from 0 at ``start`` to 1 at ``end``."""
    if step >= end:
        return 1.0
    return max(0, step - start) / max(1, end - start)


def smooth_ramp(step: int, start: int, end: int) -> float:
    """Rises as a (step - start)^4 up to the middle m = start + (end - start) // 4, then as a straight line to 1.

    The line continues the curve with its slope 4 a (m - start)^3, which determines a.
    """
    if step >= end:
        return 1.0
    if step < start:
        return 0.0
    curved = (end - start) // 4
    straight = end - start - curved
    # Everything relative to the value at the middle, so that large step numbers cannot overflow.
    at_middle = curved / (4 * straight + curved)
    if step - start <= curved:
        return at_middle * ((step - start) / curved) ** 4 if curved else 0.0
    return at_middle + (1 - at_middle) * (step - start - curved) / straight
