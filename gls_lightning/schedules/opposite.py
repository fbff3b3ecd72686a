"""Schedules that follow another."""

from dataclasses import dataclass

from gls_lightning.schedules.schedule import Schedule, Schedules


@dataclass(frozen=True)
class Opposite(Schedule):
    """Falls from 1 to ``final`` as another schedule rises from 0 to 1.

    Args:
        schedules: Where the other schedule is looked up at each step, so that it may be set later than this one.
        name: Its name there.
        final: The fraction where the other's is 1.

    Example:
        >>> from gls_lightning.schedules import Linear
        >>> schedules = Schedules()
        >>> rho = Opposite(schedules, "epsilon", final=0.5)
        >>> schedules["epsilon"] = Linear(start=0, end=2)
        >>> [rho.fraction(step) for step in range(3)]
        [1.0, 0.75, 0.5]
    """

    schedules: Schedules
    name: str
    final: float

    def fraction(self, step: int) -> float:
        """See :meth:`Schedule.fraction`."""
        return 1 - (1 - self.final) * self.schedules[self.name].fraction(step)

    def settles(self) -> float:
        """See :meth:`Schedule.settles`."""
        return self.schedules[self.name].settles()
