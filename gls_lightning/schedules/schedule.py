"""The interface of schedules, and the one that stays as it is."""

from abc import ABC, abstractmethod


class Schedule(ABC):
    """A share of a configured value, as a function of the training step alone.

    Nothing is remembered from one step to the next, so a resumed run needs no state of its schedules. The value may be
    a radius, the standard deviation of a perturbation or the length of a step; the schedule does not know which.
    """

    @abstractmethod
    def fraction(self, step: int) -> float:
        """Returns the share in force at a step.

        Args:
            step: Number of batches before this one in the whole run.
        """


class Constant(Schedule):
    """The whole value at every step.

    Example:
        >>> Constant().fraction(step=100)
        1.0
    """

    def fraction(self, step: int) -> float:
        """See :meth:`Schedule.fraction`."""
        return 1.0
