"""A schedule made of two others."""

from dataclasses import dataclass

from gls_lightning.schedules.schedule import Schedule


@dataclass(frozen=True)
class Product(Schedule):
    """The share that is the product of two others.

    Args:
        one: One of the two.
        other: The other one.
    """

    one: Schedule
    other: Schedule

    def fraction(self, step: int) -> float:
        """See :meth:`Schedule.fraction`."""
        return self.one.fraction(step) * self.other.fraction(step)
