"""Schedules that lead from one fraction to another between two steps."""

from abc import abstractmethod
from dataclasses import dataclass
from math import cos, pi

from gls_lightning.schedules.schedule import Schedule


@dataclass(frozen=True)
class Ramp(Schedule):
    """A way from one fraction to another.

    Args:
        start: The last step with the initial fraction.
        end: The first step with the final fraction; both fractions are taken exactly.
        initial: The fraction up to ``start``.
        final: The fraction from ``end`` on.
    """

    start: int
    end: int
    initial: float = 0.0
    final: float = 1.0

    def fraction(self, step: int) -> float:
        """See :meth:`Schedule.fraction`."""
        if step >= self.end:
            return self.final
        share = self.share(step - self.start, self.end - self.start) if step > self.start else 0.0
        return self.initial * (1 - share) + self.final * share

    def settles(self) -> float:
        """See :meth:`Schedule.settles`."""
        return self.end

    @abstractmethod
    def share(self, done: int, whole: int) -> float:
        """Returns the share of the way that lies behind after ``done`` of ``whole`` steps, from 0 to 1."""


class Linear(Ramp):
    """A straight line.

    Example:
        >>> [Linear(start=2, end=6).fraction(step) for step in range(8)]
        [0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def share(self, done: int, whole: int) -> float:
        """See :meth:`Ramp.share`."""
        return done / whole


class Smooth(Ramp):
    """A quartic curve for the first quarter of the steps, then the straight line that continues it without a kink.

    The ramp of the certified training literature (Gowal et al., 2018; Shi et al., 2021; CTBench): ``a done^4`` up to
    the step ``m = whole // 4``, then a line with the curve's slope ``4 a m^3``. That the line ends at 1 determines a.
    """

    def share(self, done: int, whole: int) -> float:
        """See :meth:`Ramp.share`."""
        curved = whole // 4
        straight = whole - curved
        # Everything relative to the value at the middle, so that large step numbers cannot overflow.
        at_middle = curved / (4 * straight + curved)
        if done <= curved:
            return at_middle * (done / curved) ** 4
        return at_middle + (1 - at_middle) * (done - curved) / straight


class Cosine(Ramp):
    """Half a period of the cosine: slow at both ends."""

    def share(self, done: int, whole: int) -> float:
        """See :meth:`Ramp.share`."""
        return (1 - cos(pi * done / whole)) / 2
