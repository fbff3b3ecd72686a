"""Schedules as options describe them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from gls_lightning.arguments import require
from gls_lightning.errors import ConfigurationError
from gls_lightning.schedules.ramps import Cosine, Linear, Ramp, Smooth
from gls_lightning.schedules.schedule import Schedule
from gls_lightning.schedules.steps import Steps

Shape = Literal["smooth", "linear", "cosine", "step"]
"""The course of a schedule: a ramp from ``start_epoch`` to ``end_epoch``, or a step at each of its ``milestones``."""

_RAMPS: dict[str, type[Ramp]] = {"smooth": Smooth, "linear": Linear, "cosine": Cosine}


@dataclass(frozen=True)
class ScheduleInEpochs:
    """A schedule before it is known how many batches an epoch has.

    Args:
        section: Name of the options, for messages.
        shape: The course.
        start_epoch: The epoch, counted from 0, with which a ramp starts.
        end_epoch: The epoch that begins with a ramp's final fraction; 0 where there is no ramp.
        milestones: The epochs that begin with another fraction, if the shape is ``step``.
        levels: The fractions at the milestones and before; a ramp leads from the first to the last one.

    Raises:
        ConfigurationError: The shape is unknown, the epochs are negative or in the wrong order, or they are not those
            that the shape has.
    """

    section: str
    shape: Shape
    start_epoch: int
    end_epoch: int
    milestones: Sequence[int]
    levels: Sequence[float]

    def __post_init__(self) -> None:
        require(self.shape in get_args(Shape), f"{self.section}.shape", self.shape, "smooth, linear, cosine or step")
        if not 0 <= self.start_epoch <= self.end_epoch:
            raise ConfigurationError(
                f"{self.section} has start_epoch {self.start_epoch} and end_epoch {self.end_epoch}; it needs "
                "0 <= start_epoch <= end_epoch"
            )
        if self.shape == "step":
            right = "0 where shape is step, which has milestones"
            require(not self.end_epoch, f"{self.section}.end_epoch", self.end_epoch, right)
        else:
            right = f"[] where shape is {self.shape}, which has a start_epoch and an end_epoch"
            require(not self.milestones, f"{self.section}.milestones", list(self.milestones), right)

    @property
    def rests(self) -> bool:
        """Says whether it has no epoch at which anything changes."""
        return not (self.milestones or self.end_epoch)

    def require_change(self) -> None:
        """Refuses a schedule that rests.

        Raises:
            ConfigurationError: It does.
        """
        if self.shape == "step":
            require(not self.rests, f"{self.section}.milestones", [], "a list of epochs where shape is step")
        require(not self.rests, f"{self.section}.end_epoch", 0, f"at least 1 where shape is {self.shape}")

    def in_steps(self, batches_per_epoch: int) -> Schedule:
        """Returns the schedule as a function of the training step."""
        if self.shape == "step":
            return Steps(tuple(epoch * batches_per_epoch for epoch in self.milestones), tuple(self.levels))
        start, end = self.start_epoch * batches_per_epoch, self.end_epoch * batches_per_epoch
        return _RAMPS[self.shape](start, end, self.levels[0], self.levels[-1])

    def behind(self, epochs: float) -> str:
        """Names what lies behind the end of a fit of so many epochs; nothing if all of it comes."""
        if late := [milestone for milestone in self.milestones if milestone >= epochs]:
            return f"the milestones {late}"
        late_ramp = self.end_epoch and (self.end_epoch > epochs or self.start_epoch >= epochs)
        return f"end_epoch {self.end_epoch}" if late_ramp else ""
