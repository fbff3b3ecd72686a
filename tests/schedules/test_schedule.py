from copy import deepcopy

from gls_lightning.schedules import Constant, Linear, Opposite, Schedules


def test_what_has_no_schedule_is_constant_and_is_not_noted() -> None:
    schedules = Schedules()
    assert schedules["sigma"] == Constant()
    assert schedules == {}
    assert {schedules["sigma"].fraction(step) for step in range(5)} == {1.0}


def test_opposite_follows_whatever_is_set_later_in_a_copy_too() -> None:
    schedules = Schedules()
    schedules["rho"] = Opposite(schedules, "epsilon", final=0.01)
    assert schedules["rho"].settles() == 0
    assert schedules["rho"].fraction(0) == 1 - 0.99
    copy = deepcopy(schedules)
    copy["epsilon"] = Linear(0, 4)
    assert [copy["rho"].fraction(step) for step in range(5)] == [1 - 0.99 * step / 4 for step in range(5)]
    assert copy["rho"].settles() == 4
    assert schedules["rho"].fraction(0) == 1 - 0.99
