"""Schedules as configurations state them: in epochs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from gls_lightning.arguments import require
from gls_lightning.errors import ConfigurationError
from gls_lightning.schedules.ramps import Cosine, Linear, Ramp, Smooth

Shape = Literal["smooth", "linear", "cosine", "step"]
"""Names of the ways from one share to another; ``step`` jumps at milestones, the others lead from epoch to epoch."""

_RAMPS: dict[str, type[Ramp]] = {"smooth": Smooth, "linear": Linear, "cosine": Cosine}


@dataclass(frozen=True)
class InEpochs:
    """Shape and times of a schedule, in epochs counted from 0.

    Args:
        section: Whose options these are, for messages: ``epsilon_annealing``.
        shape: The way from one share to the other.
        start_epoch: The epoch at which a ramp starts.
        end_epoch: The epoch from which on it has ended; 0 for no ramp.
        milestones: The epochs that start with a jump, for the shape ``step``.

    Raises:
        ConfigurationError: A value is out of its range, or the options contradict each other.
    """

    section: str
    shape: Shape
    start_epoch: int
    end_epoch: int
    milestones: Sequence[int]

    def __post_init__(self) -> None:
        section, start, end, milestones = self.section, self.start_epoch, self.end_epoch, list(self.milestones)
        require(self.shape in get_args(Shape), f"{section}.shape", self.shape, f"one of {', '.join(get_args(Shape))}")
        if not 0 <= start <= end:
            raise ConfigurationError(
                f"{section} has start_epoch {start} and end_epoch {end}; it needs 0 <= start_epoch <= end_epoch"
            )
        require(min(milestones, default=0) >= 0, f"{section}.milestones", milestones, "epochs, counted from 0")
        if self.shape == "step" and end:
            raise ConfigurationError(f"{section}.end_epoch is {end}, but the shape is step, which has milestones alone")
        if self.shape != "step" and milestones:
            raise ConfigurationError(
                f"{section}.milestones is {milestones}, but the shape is {self.shape}; milestones need the shape step, "
                f"{section}.milestones: [] takes them away"
            )

    @property
    def changes(self) -> bool:
        """True if the share ever differs from that at the start of training."""
        return bool(self.end_epoch or self.milestones)

    def behind(self, epochs: float) -> str:
        """Names what lies behind the end of a fit of so many epochs; an empty text if nothing does."""
        if late := [milestone for milestone in self.milestones if milestone >= epochs]:
            return f"the milestones {late}"
        late_ramp = self.end_epoch and (self.end_epoch > epochs or self.start_epoch >= epochs)
        return f"end_epoch {self.end_epoch}" if late_ramp else ""

    def ramp(self, batches_per_epoch: int, first: float, last: float) -> Ramp:
        """Makes the ramp of this shape, in steps, from one share to another."""
        start, end = self.start_epoch * batches_per_epoch, self.end_epoch * batches_per_epoch
        return _RAMPS[self.shape](start, end, first, last)

    def steps(self, batches_per_epoch: int) -> tuple[int, ...]:
        """Returns the milestones in steps, in increasing order."""
        return tuple(sorted(milestone * batches_per_epoch for milestone in self.milestones))
