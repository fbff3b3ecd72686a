from math import comb

import pytest

from gls_lightning.certification._clopper_pearson import clopper_pearson


def probability(successes: range, trials: int, p: float) -> float:
    return sum(comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in successes)


@pytest.mark.parametrize(("successes", "trials"), [(1, 3), (7, 20), (57, 60), (499, 1000)])
def test_each_end_leaves_a_tail_of_2_5_percent(successes: int, trials: int) -> None:
    low, high = clopper_pearson(successes, trials)
    assert low < successes / trials < high
    assert probability(range(successes, trials + 1), trials, low) == pytest.approx(0.025)
    assert probability(range(successes + 1), trials, high) == pytest.approx(0.025)


def test_one_sided_where_all_trials_agree() -> None:
    assert clopper_pearson(0, 10) == (0, pytest.approx(1 - 0.025**0.1))
    assert clopper_pearson(10, 10) == (pytest.approx(0.025**0.1), 1)
