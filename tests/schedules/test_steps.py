import pytest
from hypothesis import given
from hypothesis import strategies as st

from gls_lightning.schedules import Decay, Stairs


@given(milestones=st.lists(st.integers(0, 50), max_size=5), factor=st.floats(0.1, 2))
def test_decay_multiplies_at_each_milestone(milestones: list[int], factor: float) -> None:
    schedule = Decay(tuple(sorted(milestones)), factor)
    value = 1.0
    for step in range(60):
        for _ in range(milestones.count(step)):
            value *= factor
        assert schedule.fraction(step) == pytest.approx(value)


def test_stairs_by_hand() -> None:
    stairs = Stairs((2, 4, 6, 6))
    assert [stairs.fraction(step) for step in range(8)] == [0, 0, 0.25, 0.25, 0.5, 0.5, 1, 1]


@given(milestones=st.lists(st.integers(0, 50), min_size=1, max_size=5))
def test_stairs_rise_by_equal_parts_from_0_to_1(milestones: list[int]) -> None:
    stairs = Stairs(tuple(sorted(milestones)))
    for step in range(60):
        assert stairs.fraction(step) * len(milestones) == pytest.approx(sum(m <= step for m in milestones))
