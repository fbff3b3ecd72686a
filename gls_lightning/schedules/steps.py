"""Schedules that jump."""

from dataclasses import dataclass

from gls_lightning.arguments import require
from gls_lightning.schedules.schedule import Schedule


@dataclass(frozen=True)
class Steps(Schedule):
    """Fractions that change at milestones and nowhere else.

    Args:
        milestones: The steps that begin with another fraction.
        fractions: The fractions before, between and after the milestones, one more than these.

    Raises:
        ConfigurationError: There are more or fewer fractions.

    Example:
        >>> [Steps(milestones=(2, 4), fractions=(1, 0.5, 0.25)).fraction(step) for step in range(6)]
        [1, 1, 0.5, 0.5, 0.25, 0.25]
    """

    milestones: tuple[int, ...]
    fractions: tuple[float, ...]

    def __post_init__(self) -> None:
        right = f"one more than the milestones {self.milestones}"
        require(len(self.fractions) == len(self.milestones) + 1, "fractions", self.fractions, right)

    def fraction(self, step: int) -> float:
        """See :meth:`Schedule.fraction`."""
        return self.fractions[sum(milestone <= step for milestone in self.milestones)]

    def settles(self) -> float:
        """See :meth:`Schedule.settles`."""
        return max(self.milestones, default=0)
