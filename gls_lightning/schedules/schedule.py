"""The interface of schedules."""

from abc import ABC, abstractmethod
from dataclasses import dataclass


class Schedule(ABC):
    """A value over the course of a fit, as the fraction of what was configured that each training step uses.

    It is a function of the step alone, so a run that is resumed follows it without anything being saved.
    """

    @abstractmethod
    def fraction(self, step: int) -> float:
        """Returns the fraction that a training step uses.

        Args:
            step: Number of batches before this one in the whole run, that of
                :attr:`gls_lightning.estimators.Step.batch`.
        """

    @abstractmethod
    def settles(self) -> float:
        """Returns the step from which on the fraction stays the same; infinite if it never does."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The configured value throughout."""

    def fraction(self, step: int) -> float:
        """See :meth:`Schedule.fraction`."""
        return 1.0

    def settles(self) -> float:
        """See :meth:`Schedule.settles`."""
        return 0


class Schedules(dict[str, Schedule]):
    """The schedules of a fit by the names of what follows them; anything else is constant.

    Example:
        >>> Schedules()["sigma"]
        Constant()
    """

    def __missing__(self, name: str) -> Schedule:
        return Constant()
