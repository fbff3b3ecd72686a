"""Landscapes as tables of numbers."""

from typing import NamedTuple

from gls_lightning.diagnostics.landscape.landscape import Landscape
from gls_lightning.diagnostics.landscape.scores import LandscapeScores


class LandscapeTable(NamedTuple):
    """A table: the names of the columns, and the rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]


def landscape_tables(landscape: Landscape) -> dict[str, LandscapeTable]:
    """Makes the tables of a landscape: ``curves``, and along a line ``scores``."""
    scores = {} if landscape.is_plane else {"scores": score_table(landscape)}
    return {"curves": curve_table(landscape), **scores}


def curve_table(landscape: Landscape) -> LandscapeTable:
    """Lists every point of every curve, for each population size, with its 95 % confidence interval."""
    coordinates = ("coordinate", "second_coordinate")[: len(landscape.grid)]
    values = ("loss", "half_width", "normalized", "lower", "upper")
    rows = tuple(
        (curve.relaxation, curve.sigma, curve.members, *numbers)
        for whole in landscape.curves
        for curve in landscape.sized(whole)
        for numbers in zip(
            *landscape.points.T.tolist(),
            *(v.tolist() for v in (curve.mean, curve.half_width, curve.normalized, *curve.band)),
            strict=True,
        )
    )
    return LandscapeTable(("relaxation", "sigma", "population_size", *coordinates, *values), rows)


def score_table(landscape: Landscape) -> LandscapeTable:
    """Lists the scores of every curve along a line, for each population size."""
    rows = tuple(
        (curve.relaxation, curve.sigma, curve.members, *landscape.scores(curve))
        for whole in landscape.curves
        for curve in landscape.sized(whole)
    )
    return LandscapeTable(("relaxation", "sigma", "population_size", *LandscapeScores._fields), rows)
