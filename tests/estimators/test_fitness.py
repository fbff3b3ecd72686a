import hypothesis.strategies as st
import pytest
import torch
from hypothesis import example, given, settings

from gls_lightning.estimators._fitness import shape

quick = settings(max_examples=50, deadline=None)
numbers = st.floats(-1e6, 1e6, allow_subnormal=False)
several = st.lists(numbers, min_size=2, max_size=12)
different = st.lists(numbers, min_size=2, max_size=12, unique=True)
rules = st.sampled_from(["raw", "centered_ranks", "normalized"])


def shaped(losses: list[float], rule: str, dtype: torch.dtype = torch.double) -> torch.Tensor:
    return shape(torch.tensor(losses, dtype=dtype), rule)


@quick
@given(several, rules)
def test_order_is_preserved(losses, rule):
    values = shaped(losses, rule).tolist()
    for a, fitness_a in zip(losses, values, strict=True):
        for b, fitness_b in zip(losses, values, strict=True):
            assert fitness_a <= fitness_b or a > b


@quick
@given(several)
def test_raw_losses_stay_as_they_are(losses):
    assert shaped(losses, "raw").tolist() == losses


@quick
@given(several)
def test_ranks_have_mean_0(losses):
    assert abs(shaped(losses, "centered_ranks").mean()) < 1e-12


@quick
@given(different)
def test_ranks_of_different_losses_are_evenly_spread_between_minus_and_plus_one_half(losses):
    expected = torch.linspace(-0.5, 0.5, len(losses), dtype=torch.double)
    torch.testing.assert_close(shaped(losses, "centered_ranks").sort().values, expected)


@quick
@given(st.lists(st.integers(0, 3), min_size=2, max_size=12))
def test_equal_losses_share_the_mean_of_their_ranks(losses):
    found, n = shaped([float(loss) for loss in losses], "centered_ranks"), len(losses)
    for loss, fitness in zip(losses, found.tolist(), strict=True):
        places = [place for place, other in enumerate(sorted(losses)) if other == loss]
        assert fitness == pytest.approx(sum(places) / len(places) / (n - 1) - 0.5)


def test_ties_by_example():
    assert shaped([3.0, 1.0, 3.0, 2.0, 3.0], "centered_ranks").tolist() == [0.25, -0.5, 0.25, -0.25, 0.25]


@quick
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=12))
def test_ranks_depend_on_the_order_alone(losses):
    values = torch.tensor(losses, dtype=torch.double)
    assert torch.equal(shape((values / 10).exp(), "centered_ranks"), shape(values, "centered_ranks"))


@quick
@given(st.lists(st.integers(-100, 100), min_size=2, max_size=12).filter(lambda losses: len(set(losses)) > 1))
def test_normalized_losses_have_mean_0_and_standard_deviation_1(losses):
    found = shaped([loss / 7 for loss in losses], "normalized")
    assert abs(found.mean()) < 1e-9
    assert abs(found.std(correction=0) - 1) < 1e-9


@quick
@given(numbers, st.integers(2, 300), rules, st.sampled_from([torch.float32, torch.float64]))
@example(0.1, 3, "normalized", torch.float32)
@example(0.0, 2, "normalized", torch.float32)
def test_constant_losses_are_finite_and_equal(loss, n, rule, dtype):
    found = shaped([loss] * n, rule, dtype)
    assert found.isfinite().all()
    assert (found == found[0]).all()
    assert found.dtype == dtype


def test_infinite_losses_have_finite_ranks():
    assert shaped([float("inf"), 1.0, 2.0], "centered_ranks").tolist() == [0.5, -0.5, 0.0]
