"""The mean over seeds and its band, by hand."""

from math import isnan, nan

import pytest

from gls_lightning.reports._lines import line_of_epochs

CURVES = [{0: 90.0, 1: 50.0, 2: 1.0}, {0: 92.0, 1: 60.0, 2: nan}, {0: 97.0, 2: 3.0}]


def test_three_seeds_have_students_interval_over_the_epochs_of_all() -> None:
    """The variance of 90, 92 and 97 is 13; t(0.975, 2) = 4.302653 in tables."""
    line = line_of_epochs(4, CURVES)
    assert (line.number, line.positions, line.means[0]) == (4, [0, 2], 93)
    half = 4.302653 * (13 / 3) ** 0.5
    assert line.bands[0] == pytest.approx((93 - half, 93 + half), abs=1e-4)
    assert all(map(isnan, (line.means[1], *line.bands[1])))


def test_two_seeds_reach_from_the_one_to_the_other() -> None:
    line = line_of_epochs(0, CURVES[1::-1])
    assert line[1:3] == ([0, 1, 2], pytest.approx([91, 55, nan], nan_ok=True))
    assert list(line.bands[:2]) == [(90, 92), (50, 60)]


def test_a_single_seed_has_no_band() -> None:
    assert line_of_epochs(1, CURVES[2:]) == (1, [0, 2], [97, 3], ())
