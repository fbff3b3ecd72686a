import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gls_lightning.schedules import Cosine, Linear, Ramp, Smooth

RAMPS = [Linear, Smooth, Cosine]
every_ramp = pytest.mark.parametrize("ramp", RAMPS)


def published_smooth_ramp(step: int, start: int, end: int) -> float:
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


@given(start=st.integers(0, 10_000), length=st.integers(4, 100_000), share=st.floats(-0.5, 1.5))
def test_smooth_is_the_published_ramp(start: int, length: int, share: float) -> None:
    step, end = max(0, start + round(share * length)), start + length
    assert Smooth(start, end).fraction(step) == pytest.approx(published_smooth_ramp(step, start, end), abs=1e-12)


def test_smooth_by_hand() -> None:
    """From 0 to 8 the middle is 2 and a = 1 / (6 * 4 * 8 + 2 * 8) = 1 / 208."""
    values = [Smooth(0, 8).fraction(step) for step in (0, 1, 2, 5, 8, 100)]
    assert values == pytest.approx([0, 1 / 208, 16 / 208, (16 / 208 + 1) / 2, 1, 1])


@given(quarter=st.integers(1, 10_000))
def test_smooth_has_no_kink_in_the_middle(quarter: int) -> None:
    """With a = 1 / (13 m^4) for m = whole / 4, curve and line meet at 1 / 13, both with slope 4 / (13 m)."""
    ramp = Smooth(0, 4 * quarter)
    before, at, after = (ramp.fraction(quarter + k) for k in (-1, 0, 1))
    assert at == pytest.approx(1 / 13)
    assert after - at == pytest.approx(4 / (13 * quarter), rel=1e-6)
    assert at - before == pytest.approx((1 - (1 - 1 / quarter) ** 4) / 13, rel=1e-6)


def test_cosine_by_hand() -> None:
    values = [Cosine(2, 8).fraction(step) for step in (0, 2, 4, 5, 6, 8, 9)]
    assert values == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1, 1])


levels = st.floats(0, 10)


@every_ramp
@given(start=st.integers(0, 1000), length=st.integers(0, 1000), first=levels, last=levels, data=st.data())
def test_leads_from_the_initial_to_the_final_fraction(
    ramp: type[Ramp], start: int, length: int, first: float, last: float, data: st.DataObject
) -> None:
    end = start + length
    schedule = ramp(start, end, first, last)
    assert schedule.fraction(end) == schedule.fraction(end + 1000) == last
    if length:
        assert schedule.fraction(0) == schedule.fraction(start) == first
    one, other = sorted(data.draw(st.integers(0, 2 * end + 1)) for _ in range(2))
    values = [first, schedule.fraction(one), schedule.fraction(other), last]
    tiny = 4 * math.ulp(max(first, last))
    assert all((b - a) * math.copysign(1, last - first) >= -tiny for a, b in pairwise(values))


@every_ramp
@given(length=st.integers(1, 100), factor=st.floats(0, 1))
def test_one_that_falls_is_one_that_rises_upside_down(ramp: type[Ramp], length: int, factor: float) -> None:
    for step in range(length + 1):
        falling, rising = ramp(0, length, 1, factor).fraction(step), ramp(0, length).fraction(step)
        assert falling == pytest.approx(1 - (1 - factor) * rising, abs=1e-12)


@every_ramp
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_short_ramps_rise_from_0_to_1(ramp: Any, length: int) -> None:
    values = [ramp(3, 3 + length).fraction(step) for step in range(2, 5 + length)]
    assert values[:2] == [0, 0]
    assert values[-2:] == [1, 1]
    assert values == sorted(values)
