"""Schedules that jump at milestones."""

from bisect import bisect_right
from dataclasses import dataclass

from gls_lightning.schedules.schedule import Schedule


@dataclass(frozen=True)
class Decay(Schedule):
    """The share that is multiplied by a factor at each milestone.

    Args:
        milestones: Steps, in increasing order.
        factor: Below 1 for a share that falls, above for one that grows.

    Example:
        >>> [Decay((10, 20), factor=0.5).fraction(step) for step in (9, 10, 20)]
        [1.0, 0.5, 0.25]
    """

    milestones: tuple[int, ...]
    factor: float

    def fraction(self, step: int) -> float:
        """See :meth:`Schedule.fraction`."""
        return self.factor ** bisect_right(self.milestones, step)


@dataclass(frozen=True)
class Stairs(Schedule):
    """The share that rises from 0 to 1, by the same height at each milestone.

    Args:
        milestones: Steps, in increasing order.
    """

    milestones: tuple[int, ...]

    def fraction(self, step: int) -> float:
        """See :meth:`Schedule.fraction`."""
        return bisect_right(self.milestones, step) / len(self.milestones)
