import pytest
from hypothesis import given
from hypothesis import strategies as st

from gls_lightning.errors import ConfigurationError
from gls_lightning.schedules import Steps


@given(milestones=st.lists(st.integers(0, 50), max_size=5), factor=st.floats(0.1, 2))
def test_powers_of_a_factor_multiply_at_each_milestone(milestones: list[int], factor: float) -> None:
    schedule = Steps(tuple(milestones), tuple(factor**k for k in range(len(milestones) + 1)))
    value = 1.0
    for step in range(60):
        for _ in range(milestones.count(step)):
            value *= factor
        assert schedule.fraction(step) == pytest.approx(value)
        if step >= schedule.settles():
            assert schedule.fraction(step) == schedule.fraction(100)


def test_needs_a_fraction_for_every_part() -> None:
    with pytest.raises(ConfigurationError, match=r"fractions is \(1, 2\); it must be one more than the milestones"):
        Steps((3, 5), (1, 2))
