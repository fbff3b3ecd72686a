"""Statistics of values over seeds."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import NamedTuple


class SeedStatistics(NamedTuple):
    """Statistics of values that independent seeds gave.

    Attributes:
        mean: Their mean.
        deviation: Their standard deviation, with n - 1 in the denominator; None of a single one.
        interval: The 95 % confidence interval of the mean, Student's t; None of a single one.
    """

    mean: float
    deviation: float | None = None
    interval: tuple[float, float] | None = None


def seed_statistics(values: Sequence[float]) -> SeedStatistics:
    """Returns the statistics of at least one value."""
    mean, count = fmean(values), len(values)
    if count == 1:
        return SeedStatistics(mean)
    from scipy.special import stdtrit  # far faster to import than scipy.stats

    deviation = stdev(values)
    half = float(stdtrit(count - 1, 0.975)) * deviation / sqrt(count)
    return SeedStatistics(mean, deviation, (mean - half, mean + half))
