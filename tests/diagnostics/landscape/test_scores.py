"""The scores of Fig. 5, against brute force and functions whose scores are known."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gls_lightning.diagnostics import landscape_scores

values = st.lists(st.floats(-10, 10), min_size=3, max_size=12)


@given(values)
def test_deviation_from_convexity_is_the_largest_over_all_chords(heights: list[float]) -> None:
    expected = 0.0
    for left in range(len(heights)):
        for right in range(left + 1, len(heights)):
            for point in range(left, right + 1):
                share = (point - left) / (right - left)
                chord = (1 - share) * heights[left] + share * heights[right]
                expected = max(expected, heights[point] - chord)
    scores = landscape_scores(torch.tensor(heights, dtype=torch.double), 1.0)
    assert scores.deviation_from_convexity == pytest.approx(expected, abs=1e-12)


@given(values, st.floats(0.01, 10))
def test_differences_are_those_of_a_loop(heights: list[float], step: float) -> None:
    scores = landscape_scores(torch.tensor(heights, dtype=torch.double), step)
    first = [abs(b - a) / step for a, b in pairwise(heights)]
    second = [abs(a - 2 * b + c) / step**2 for a, b, c in zip(heights, heights[1:], heights[2:], strict=False)]
    assert scores.max_finite_difference == pytest.approx(max(first))
    assert scores.mean_curvature == pytest.approx(sum(second) / len(second), abs=1e-9)


def test_a_parabola_has_its_curvature_everywhere() -> None:
    grid = torch.linspace(-1, 1, 101, dtype=torch.double)
    scores = landscape_scores(3 * grid**2, 0.02)
    assert scores.mean_curvature == pytest.approx(6)
    assert scores.max_finite_difference == pytest.approx(3 * (1 - 0.98**2) / 0.02)
    assert scores.deviation_from_convexity == pytest.approx(0, abs=1e-12)


def test_a_concave_parabola_deviates_by_its_height_over_the_chord() -> None:
    grid = torch.linspace(-1, 1, 101, dtype=torch.double)
    assert landscape_scores(-(grid**2), 0.02).deviation_from_convexity == pytest.approx(1)


@pytest.mark.parametrize("points", [101, 1001])
def test_a_jump_is_divided_by_the_step(points: int) -> None:
    grid = torch.linspace(-1, 1, points, dtype=torch.double)
    scores = landscape_scores((grid > 0.5).double(), 2 / (points - 1))
    assert scores.max_finite_difference == pytest.approx((points - 1) / 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_has_no_deviation(bad: float) -> None:
    assert math.isnan(landscape_scores(torch.tensor([0.0, bad, 1.0]), 1.0).deviation_from_convexity)
