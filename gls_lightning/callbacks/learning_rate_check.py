"""Learning rate schedules that are as long as the fit."""

from collections.abc import Iterator
from math import ceil, inf
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim.lr_scheduler import OneCycleLR

from gls_lightning.errors import ConfigurationError
from gls_lightning.private_names import of_torch
from gls_lightning.training import RunLength, run_length

_CHANGES = ("milestones", of_torch.MILESTONES, "step_size")
"""Attributes of PyTorch's schedules that say when the rate changes."""

_ENDS = ("T_max", "T_0", "total_iters", "total_steps")
"""Attributes that say when the schedule has run its course."""


class LearningRateCheck(Callback):
    """Compares the learning rate schedule with the length of the fit, before its first batch.

    A ``OneCycleLR`` that is shorter fails in the midst of training and is refused; what lies behind the end of the fit,
    such as a milestone, is warned of. ``CertifiedTrainingModule`` adds this callback itself.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks all schedules, as they are after a resumption.

        Raises:
            ConfigurationError: One is too short.
        """
        length = run_length(trainer)
        for config in trainer.lr_scheduler_configs:
            of_fit = length.steps if config.interval == "step" else length.epochs
            unit = f"{config.interval}s"
            if of_fit < inf:
                _check(config.scheduler, ceil(of_fit) // config.frequency, unit, length)


def _check(scheduler: Any, steps: int, unit: str, length: RunLength) -> None:
    """Checks a schedule, and those that it consists of, against the number of its steps in the fit."""
    name = f"the learning rate schedule {type(scheduler).__name__}"
    if isinstance(scheduler, OneCycleLR) and scheduler.total_steps < steps:
        raise ConfigurationError(
            f"{name} has total_steps {scheduler.total_steps}, but training takes {steps} {unit} until {length}; set "
            f"total_steps: {steps}, from the start, as a checkpoint that is resumed keeps its own"
        )
    for argument, late in _behind(scheduler, steps):
        values = ", ".join(map(str, late))
        hint = "; to count steps, set model.scheduler_interval: step"
        rank_zero_warn(
            f"{name} has {argument} {values}, counted in {unit}, but training ends with {length}: that never comes"
            + (hint if unit == "epochs" and late == [length.steps] else "")
        )
    starts = [0, *getattr(scheduler, of_torch.MILESTONES, ())]
    for position, part in enumerate(getattr(scheduler, of_torch.SCHEDULES, ())):
        start = starts[min(position, len(starts) - 1)]
        if start < steps:
            _check(part, steps - start, unit, length)


def _behind(scheduler: Any, steps: int) -> Iterator[tuple[str, list[int]]]:
    """Finds arguments of a schedule that lie behind its last step, and their values there."""
    for argument in _CHANGES:
        value: Any = getattr(scheduler, argument, ())
        late = [m for m in sorted([value] if isinstance(value, int) else value) if m >= steps]
        if late:
            yield argument.removeprefix("_"), late
    for argument in _ENDS:
        if (value := getattr(scheduler, argument, 0)) > steps:
            yield argument, [value]
