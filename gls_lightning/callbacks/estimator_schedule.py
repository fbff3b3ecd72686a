"""Options and schedule of a value that an estimator lets be scheduled."""

from collections.abc import Sequence
from math import inf

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from gls_lightning.arguments import require
from gls_lightning.schedules import Decay, InEpochs, Schedule, Shape
from gls_lightning.training import batches_per_epoch, bounded_network, run_length


class EstimatorSchedule(Callback):
    """Sets the schedule of one of the estimator's values when training starts.

    Attributes:
        section: Key of the options in a configuration, for messages.
        quantity: Name of the estimator's value.
    """

    section: str
    quantity: str

    def __init__(
        self, factor: float, milestones: Sequence[int], shape: Shape, start_epoch: int, end_epoch: int
    ) -> None:
        require(0 < factor < inf, f"{self.section}.factor", factor, "positive and finite")
        self.factor = factor
        self.epochs = InEpochs(self.section, shape, start_epoch, end_epoch, milestones)
        require(shape == "step" or end_epoch > 0, f"{self.section}.end_epoch", end_epoch, f"at least 1 with {shape}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the module the schedule, and warns of what lies behind the end of the fit."""
        if not self.epochs.changes:
            return
        bounded_network(self, pl_module).estimator_schedules[self.quantity] = self.schedule(trainer)
        length = run_length(trainer)
        if late := [milestone for milestone in self.epochs.milestones if milestone >= length.epochs]:
            rank_zero_warn(
                f"{self.section} has the milestones {late}, but training ends with {length}: they never come"
            )
        elif self.epochs.end_epoch > length.epochs:
            rank_zero_warn(
                f"{self.section} has end_epoch {self.epochs.end_epoch}, but training ends with {length}: "
                f"{self.quantity} does not get to {self.factor:g} of its first value"
            )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the schedule back: it was made for this fit."""
        bounded_network(self, pl_module).estimator_schedules.pop(self.quantity, None)

    def schedule(self, trainer: Trainer) -> Schedule:
        """The share of the configured value, in the trainer's batches."""
        batches = batches_per_epoch(trainer, self.section)
        if self.epochs.shape == "step":
            return Decay(self.epochs.steps(batches), self.factor)
        return self.epochs.ramp(batches, first=1.0, last=self.factor)
