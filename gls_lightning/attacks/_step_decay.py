"""Step sizes of an attack."""

from collections.abc import Callable, Sequence
from typing import Literal

StepDecay = Literal["ctbench", "sabr", "taps", "none"]


def step_sizes(first: float, steps: int, decay: StepDecay) -> list[float]:
    """Returns the sizes of ``steps`` steps, which begin with ``first`` and shrink by the rule ``decay``."""
    factor, drops = STEP_DECAYS[decay](steps)
    return [first * factor ** sum(step >= drop for drop in drops) for step in range(steps)]


def _ctbench(steps: int) -> tuple[float, Sequence[int]]:
    if steps < 20:
        return 0.2, [10]
    return 0.1, _shares(steps, 7) if steps < 50 else _shares(steps, 5, 8, 9)


def _taps(steps: int) -> tuple[float, Sequence[int]]:
    if steps < 10:
        return 0.2, []
    if steps <= 50:
        return 0.2, _shares(steps, 7)
    return 0.2, _shares(steps, 4, 7) if steps <= 80 else _shares(steps, 3, 6, 8)


def _shares(steps: int, *tenths: int) -> list[int]:
    return [drop for share in tenths if (drop := steps * share // 10)]


STEP_DECAYS: dict[StepDecay, Callable[[int], tuple[float, Sequence[int]]]] = {
    "ctbench": _ctbench,
    "sabr": lambda steps: (0.1, _shares(steps, 5, 8, 9)),
    "taps": _taps,
    "none": lambda steps: (1.0, []),
}
"""Rules: for a number of steps, the factor by which the size shrinks, and the steps from which it does."""
