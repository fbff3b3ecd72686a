"""Statistics over seeds, against tables and by hand."""

import pytest

from gls_lightning.reports.seed_statistics import seed_statistics


def test_three_seeds_by_hand() -> None:
    """The squared deviations of 90, 92 and 97 from 93 are 9, 1 and 16; t(0.975, 2) = 4.302653 in tables."""
    found = seed_statistics([90, 92, 97])
    assert found.mean == 93
    assert found.deviation == pytest.approx(13**0.5)
    half = 4.302653 * (13 / 3) ** 0.5
    assert found.interval == pytest.approx((93 - half, 93 + half), abs=1e-4)


@pytest.mark.parametrize(("count", "quantile"), [(2, 12.7062), (5, 2.776445), (10, 2.262157)])
def test_the_quantile_is_of_n_minus_1_degrees(count: int, quantile: float) -> None:
    found = seed_statistics([0.0] * (count - 1) + [1.0])
    assert found.interval is not None
    low, high = found.interval
    variance = (1 - 1 / count) / (count - 1)
    assert (high - low) / 2 == pytest.approx(quantile * (variance / count) ** 0.5, rel=1e-5)


def test_a_single_seed_has_neither_deviation_nor_interval() -> None:
    assert seed_statistics([91.5]) == (91.5, None, None)
