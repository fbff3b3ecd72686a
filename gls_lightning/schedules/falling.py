"""A schedule that falls while something else rises."""

from collections.abc import Callable
from dataclasses import dataclass

from gls_lightning.schedules.schedule import Schedule


@dataclass(frozen=True)
class Falling(Schedule):
    """The share that falls from 1 to ``last`` as another one rises from 0 to 1.

    Args:
        rising: The other share, as a function of the step: a schedule's ``fraction``, for example.
        last: The share where the other one is 1.
    """

    rising: Callable[[int], float]
    last: float

    def fraction(self, step: int) -> float:
        """See :meth:`Schedule.fraction`."""
        return 1 - (1 - self.last) * self.rising(step)
