"""Schedules that lead from one share to another between two steps."""

from abc import abstractmethod
from dataclasses import dataclass
from math import cos, pi

from gls_lightning.schedules.schedule import Schedule


@dataclass(frozen=True)
class Ramp(Schedule):
    """A way from one share to another.

    Args:
        start: The step up to which the share is ``first``.
        end: The step from which on it is ``last``.
        first: The share before the ramp.
        last: The share behind it.
    """

    start: int
    end: int
    first: float = 0.0
    last: float = 1.0

    def fraction(self, step: int) -> float:
        """See :meth:`Schedule.fraction`."""
        if step >= self.end:
            return self.last
        if step < self.start:
            return self.first
        return self.first + (self.last - self.first) * self.share(step - self.start, self.end - self.start)

    @abstractmethod
    def share(self, done: int, length: int) -> float:
        """Returns the part of the way, from 0 to 1, after ``done`` of ``length`` steps; ``done`` is the smaller one."""


class Linear(Ramp):
    """A ramp with the same slope everywhere.

    Example:
        >>> [Linear(start=2, end=6).fraction(step) for step in (0, 2, 3, 4, 6, 9)]
        [0.0, 0.0, 0.25, 0.5, 1.0, 1.0]
    """

    def share(self, done: int, length: int) -> float:
        """See :meth:`Ramp.share`."""
        return done / length


class Cosine(Ramp):
    """A ramp along half a period of the cosine: it starts and ends with slope 0."""

    def share(self, done: int, length: int) -> float:
        """See :meth:`Ramp.share`."""
        return (1 - cos(pi * done / length)) / 2


class Smooth(Ramp):
    """The ramp of the certified training literature (Gowal et al., 2018; Shi et al., 2021; CTBench).

    A quartic curve a d^4 of the done steps d up to m, a quarter of the ramp, and then the straight line to the end that
    continues it with its slope 4 a m^3; the two conditions determine a.
    """

    def share(self, done: int, length: int) -> float:
        """See :meth:`Ramp.share`."""
        curved = length // 4
        straight = length - curved
        # Everything relative to the value at the middle, so that large step numbers cannot overflow.
        at_middle = curved / (4 * straight + curved)
        if done <= curved:
            return at_middle * (done / curved) ** 4 if curved else 0.0
        return at_middle + (1 - at_middle) * (done - curved) / straight
