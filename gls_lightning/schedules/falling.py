"""A schedule that falls while something else rises."""

from collections.abc import Callable
from dataclasses import dataclass

from gls_lightning.schedules.schedule import Schedule


@dataclass(frozen=True)
class Falling(Schedule):
    """The share that falls from ``first`` to ``last`` as another one rises from 0 to 1.

    Args:
        rising: The other share, as a function of the step: a schedule's ``fraction``, for example.
        last: The share where the other one is 1.
        first: The share where the other one is 0.

    Example:
        >>> [Falling(lambda step: step / 2, last=1.0, first=5.0).fraction(step) for step in (0, 1, 2)]
        [5.0, 3.0, 1.0]
    """

    rising: Callable[[int], float]
    last: float
    first: float = 1.0

    def fraction(self, step: int) -> float:
        """See :meth:`Schedule.fraction`."""
        return self.first - (self.first - self.last) * self.rising(step)
