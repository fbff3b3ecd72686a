"""The Pareto front, by brute force."""

from hypothesis import given
from hypothesis import strategies as st

from gls_lightning.reports._figures import pareto_front

coordinate = st.integers(0, 6).map(float)  # few values, so that there are ties


@given(st.lists(st.tuples(coordinate, coordinate), max_size=12))
def test_the_points_that_no_other_one_beats(points: list[tuple[float, float]]) -> None:
    best = {p for p in points if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)}
    assert pareto_front(points) == sorted(best)
