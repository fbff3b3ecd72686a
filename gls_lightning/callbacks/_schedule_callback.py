"""The callbacks that give the module a schedule."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import inf

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from gls_lightning.arguments import require
from gls_lightning.schedules import Decay, InEpochs, Schedule, Shape
from gls_lightning.training import BoundedNetwork, batches_per_epoch, bounded_network, run_length


class ScheduleCallback(Callback, ABC):
    """Gives the module a schedule when training starts, and takes it back when the fit ends, however it ends.

    Attributes:
        epochs: The options of the schedule.
    """

    epochs: InEpochs
    _scheduled: BoundedNetwork | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the module the schedule, and warns of what lies behind the end of the fit."""
        if not self.epochs.changes:
            return
        section, length = self.epochs.section, run_length(trainer)
        batches = batches_per_epoch(trainer, section)
        module, schedule = bounded_network(self, pl_module), self.schedule(batches)
        self.give(module, schedule)
        if late := self.epochs.behind(length.epochs):
            final_step = max(0, round(length.epochs * batches) - 1)
            consequence = self.consequence(module, schedule.fraction(final_step))
            rank_zero_warn(f"{section} has {late}, but training ends with {length}: {consequence}")

    def give(self, module: BoundedNetwork, schedule: Schedule) -> None:
        """Gives the module a schedule until the fit ends."""
        self._scheduled = module
        self.set(module, schedule)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the schedule back: it was made for this fit."""
        if self._scheduled is not None:
            self.set(self._scheduled, None)
            self._scheduled = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Takes the schedule back."""
        self.on_fit_end(trainer, pl_module)

    @abstractmethod
    def set(self, module: BoundedNetwork, schedule: Schedule | None) -> None:
        """Sets a schedule of the module, or with None the one that it has without this callback."""

    @abstractmethod
    def schedule(self, batches_per_epoch: int) -> Schedule:
        """Makes the schedule, in steps."""

    @abstractmethod
    def consequence(self, module: BoundedNetwork, fraction: float) -> str:
        """Says what it means that the fit ends with this share."""


class EstimatorSchedule(ScheduleCallback):
    """Schedules one of the estimator's values by a factor: at milestones, or from epoch to epoch.

    Attributes:
        quantity: Name of the estimator's value.
    """

    quantity: str

    def read(
        self, section: str, factor: float, milestones: Sequence[int], shape: Shape, start_epoch: int, end_epoch: int
    ) -> None:
        """Keeps the options.

        Raises:
            ConfigurationError: One is out of its range, or they contradict each other.
        """
        require(0 < factor < inf, f"{section}.factor", factor, "positive and finite")
        self.factor = factor
        self.epochs = InEpochs(section, shape, start_epoch, end_epoch, milestones)
        require(shape == "step" or end_epoch > 0, f"{section}.end_epoch", end_epoch, f"at least 1 with {shape}")

    def set(self, module: BoundedNetwork, schedule: Schedule | None) -> None:
        """See :meth:`ScheduleCallback.set`; without a schedule the value is the one that was configured."""
        if schedule is None:
            module.estimator_schedules.pop(self.quantity, None)
            module.estimator.scale(self.quantity, 1.0)
        else:
            module.estimator_schedules[self.quantity] = schedule

    def schedule(self, batches_per_epoch: int) -> Schedule:
        """See :meth:`ScheduleCallback.schedule`."""
        if self.epochs.shape == "step":
            return Decay(self.epochs.steps(batches_per_epoch), self.factor)
        return self.epochs.ramp(batches_per_epoch, first=1.0, last=self.factor)

    def consequence(self, module: BoundedNetwork, fraction: float) -> str:
        """See :meth:`ScheduleCallback.consequence`."""
        if self.epochs.milestones:
            return "they never come"
        configured = module.estimator.schedulable[self.quantity]
        return f"{self.quantity} gets to {configured * fraction:.3g}, {fraction:.1%} of {configured:g}"
