"""The callbacks that give the module a schedule."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import inf

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from gls_lightning.arguments import require
from gls_lightning.errors import ConfigurationError
from gls_lightning.schedules import Schedule, ScheduleInEpochs, Shape
from gls_lightning.training import CertifiedModule, certified_module, run_length


class ScheduleCallback(Callback, ABC):
    """Sets a schedule of the module when training starts, and takes it back when the fit ends.

    Attributes:
        scheduled: The name under which the module follows it.
        in_epochs: The schedule that was configured.
    """

    scheduled: str
    in_epochs: ScheduleInEpochs
    _following: CertifiedModule | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there is a value to schedule."""
        certified_module(self, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sets the schedule, and warns of one that ends behind the fit."""
        if self.in_epochs.rests:
            return
        section, batches = self.in_epochs.section, trainer.num_training_batches
        if batches == inf:
            raise ConfigurationError(
                f"{section} needs a training data set with a length, or trainer.limit_train_batches"
            )
        module, schedule = certified_module(self, pl_module), self.in_epochs.in_steps(int(batches))
        self.follow(module, schedule)
        length = run_length(trainer)
        if late := self.in_epochs.behind(length.epochs):
            last = max(0, round(length.epochs * batches) - 1)
            consequence = self.consequence(module, schedule.fraction(last))
            rank_zero_warn(f"{section} has {late}, but training ends with {length}: {consequence}")

    def follow(self, module: CertifiedModule, schedule: Schedule) -> None:
        """Sets a schedule until the fit ends."""
        self._following = module
        module.schedules[self.scheduled] = schedule

    @abstractmethod
    def consequence(self, module: CertifiedModule, fraction: float) -> str:
        """Tells what it means that a fit ends with this fraction."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the configured value."""
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves the configured value."""
        self._release()

    def _release(self) -> None:
        if self._following is not None:
            self._following.schedules.pop(self.scheduled, None)
            if self.scheduled in self._following.estimator.schedulable:
                self._following.estimator.scale(self.scheduled, 1.0)
            self._following = None


class EstimatorSchedule(ScheduleCallback):
    """Lowers a value of the estimator."""

    @staticmethod
    def read(
        section: str, shape: Shape, start_epoch: int, end_epoch: int, milestones: Sequence[int], factor: float
    ) -> ScheduleInEpochs:
        """Reads the options of a schedule that multiplies by a factor, at each milestone or in all.

        Raises:
            ConfigurationError: They are out of their range, or do not fit together.
        """
        require(0 < factor < inf, f"{section}.factor", factor, "positive and finite")
        levels = [factor**passed for passed in range((len(milestones) or 1) + 1)]
        return ScheduleInEpochs(section, shape, start_epoch, end_epoch, milestones, levels)

    def consequence(self, module: CertifiedModule, fraction: float) -> str:
        """See :meth:`ScheduleCallback.consequence`."""
        if self.in_epochs.milestones:
            return "they never come"
        configured = module.estimator.schedulable[self.scheduled]
        return f"{self.scheduled} gets to {configured * fraction:.3g}, {fraction:.1%} of {configured:g}"
