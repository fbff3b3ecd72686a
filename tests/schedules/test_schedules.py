"""Schedules against closed forms and by hand."""

from itertools import pairwise
from math import cos, pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gls_lightning.schedules import Constant, Cosine, Decay, Falling, Linear, Ramp, Smooth, Stairs

RAMPS = [Linear, Smooth, Cosine]
every_ramp = pytest.mark.parametrize("ramp", RAMPS)


def published_ramp(step: int, start: int, end: int) -> float:
    """The schedule as the facts of the field state it, for a radius that rises from 0 to 1."""
    middle = int(0.25 * (end - start)) + start
    t = (middle - start) ** 3
    a = 1 / ((end - middle) * 4 * t + (middle - start) * t)
    if step < start:
        return 0.0
    if step <= middle:
        return a * (step - start) ** 4
    at_middle = a * (middle - start) ** 4
    return min(1.0, at_middle + (1 - at_middle) * (step - middle) / (end - middle))


@pytest.mark.parametrize(("start", "end"), [(0, 8), (0, 4700), (391, 31671), (5, 105)])
def test_smooth_ramp_is_the_published_one(start: int, end: int) -> None:
    steps = range(0, end + 10, max(1, end // 500))
    expected = [published_ramp(step, start, end) for step in steps]
    assert [Smooth(start, end).fraction(step) for step in steps] == pytest.approx(expected, abs=1e-12)


def test_smooth_ramp_by_hand() -> None:
    """From 0 to 8 the middle is 2 and a = 1 / (6 * 4 * 8 + 2 * 8) = 1 / 208."""
    values = [Smooth(0, 8).fraction(step) for step in (0, 1, 2, 5, 8, 100)]
    assert values == pytest.approx([0, 1 / 208, 16 / 208, (16 / 208 + 1) / 2, 1, 1])


@every_ramp
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_short_ramps_rise_from_0_to_1(ramp: type[Ramp], length: int) -> None:
    values = [ramp(3, 3 + length).fraction(step) for step in range(2, 5 + length)]
    assert values[:2] == [0, 0]
    assert values[-2:] == [1, 1]
    assert values == sorted(values)


def test_linear_ramp_by_hand() -> None:
    assert [Linear(2, 6).fraction(step) for step in range(8)] == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]


@every_ramp
@given(
    st.integers(0, 10**6),
    st.integers(1, 10**6),
    st.floats(0, 10),
    st.floats(0, 10),
    st.lists(st.integers(0, 3 * 10**6), min_size=2),
)
def test_ramps_lead_from_the_first_share_to_the_last_and_never_back(
    ramp: type[Ramp], start: int, length: int, first: float, last: float, steps: list[int]
) -> None:
    schedule = ramp(start, start + length, first, last)
    assert [schedule.fraction(step) for step in (0, start, start + length)] == [first, first, last]
    values = [schedule.fraction(step) for step in sorted(steps)]
    slack = 1e-12 * (first + last)
    assert all((after - before) * (last - first) >= -slack for before, after in pairwise(values))
    assert all(min(first, last) - slack <= value <= max(first, last) + slack for value in values)


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_cosine_ramp_is_half_a_period(length: int, step: int) -> None:
    share = 0.5 - 0.5 * cos(pi * min(step, length) / length)
    assert Cosine(0, length).fraction(step) == pytest.approx(share, abs=1e-12)


@given(st.lists(st.integers(0, 100), max_size=5), st.floats(0.01, 3), st.integers(0, 120))
def test_decay_multiplies_at_each_milestone(milestones: list[int], factor: float, step: int) -> None:
    expected = 1.0
    for milestone in milestones:
        expected *= factor if milestone <= step else 1
    assert Decay(tuple(sorted(milestones)), factor).fraction(step) == pytest.approx(expected)


def test_stairs_by_hand() -> None:
    stairs = Stairs((2, 4, 6, 6))
    assert [stairs.fraction(step) for step in range(8)] == [0, 0, 0.25, 0.25, 0.5, 0.5, 1, 1]


def test_falling_follows_the_other_way() -> None:
    falling = Falling(Linear(0, 4).fraction, last=0.01)
    assert [falling.fraction(step) for step in (0, 2, 4, 9)] == pytest.approx([1, 0.505, 0.01, 0.01])


def test_constant() -> None:
    assert {Constant().fraction(step) for step in (0, 1, 10**9)} == {1.0}
