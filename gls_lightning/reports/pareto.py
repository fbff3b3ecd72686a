"""Which results no other one beats."""

from collections.abc import Iterable

Point = tuple[float, float]


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """The points of which no other one is at least as large in both coordinates, by increasing first coordinate."""
    front: list[Point] = []
    for point in sorted(set(points), reverse=True):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]
