import pytest

from gls_lightning.schedules import Constant, Falling, Linear


def test_falls_as_the_other_rises() -> None:
    falling = Falling(Linear(0, 4).fraction, last=0.01)
    assert [falling.fraction(step) for step in (0, 2, 4, 9)] == pytest.approx([1, 0.505, 0.01, 0.01])


def test_starts_at_another_share() -> None:
    falling = Falling(Linear(0, 4).fraction, last=1.0, first=5.0)
    assert [falling.fraction(step) for step in (0, 1, 2, 4, 9)] == pytest.approx([5, 4, 3, 1, 1])


def test_is_at_its_last_share_where_the_other_is_constant() -> None:
    assert {Falling(Constant().fraction, last=0.25).fraction(step) for step in (0, 1, 10**9)} == {0.25}
