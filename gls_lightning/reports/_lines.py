"""Lines of pictures: the mean over the seeds of a configuration, with a band."""

from collections.abc import Mapping, Sequence
from math import isnan, nan
from typing import NamedTuple

from gls_lightning.reports.seed_statistics import seed_statistics

BANDS = (
    "A line is the mean over the seeds of a configuration. Its band is the 95 % confidence interval of the mean "
    "(Student's t); with two seeds it reaches from the one to the other."
)


class Line(NamedTuple):
    """A line of a picture.

    Attributes:
        number: Decides colour and dashes; that of the configuration, or of the line in its picture.
        positions: Where it has values, increasing.
        means: The values; NaN where one was not finite.
        bands: The ends of the band at each position; empty without a band.
    """

    number: int
    positions: Sequence[float]
    means: Sequence[float]
    bands: Sequence[tuple[float, float]] = ()


def single_line(number: int, curve: Mapping[int, float]) -> Line:
    """Returns a line without a band."""
    return Line(number, list(curve), list(curve.values()))


def line_of_epochs(number: int, curves: Sequence[Mapping[int, float]]) -> Line:
    """Returns the line of at least one curve, over the epochs that all of them have."""
    first, *others = curves
    epochs = [epoch for epoch in first if all(epoch in curve for curve in others)]
    return line_of_seeds(number, epochs, [[curve[epoch] for curve in curves] for epoch in epochs])


def line_of_seeds(number: int, positions: Sequence[float], values: Sequence[Sequence[float]]) -> Line:
    """Returns the line of the values that the seeds have at each position, at least one."""
    bands = [band(of_seeds) for of_seeds in values]
    shown = [ends for ends in bands if ends is not None]
    return Line(number, positions, [_mean(of_seeds) for of_seeds in values], shown if len(shown) == len(bands) else ())


def band(values: Sequence[float]) -> tuple[float, float] | None:
    """Returns the ends of the band: Student's 95 % interval, the values themselves of two, None of a single one."""
    if len(values) < 2:
        return None
    if any(map(isnan, values)):
        return nan, nan
    return (min(values), max(values)) if len(values) == 2 else seed_statistics(values).interval


def _mean(values: Sequence[float]) -> float:
    return nan if any(map(isnan, values)) else seed_statistics(values).mean
