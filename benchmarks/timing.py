"""Times of several variants of a computation, taken in turn."""

import time
from collections.abc import Callable
from typing import Any


def cpu_ms(variants: dict[Any, Callable[[], object]], steps: int) -> dict[Any, list[float]]:
    """CPU milliseconds of the variants, the first step of each not counted."""
    times: dict[Any, list[float]] = {name: [] for name in variants}
    for step in range(steps + 1):
        for name, take in variants.items():
            start = time.process_time()
            take()
            if step:
                times[name].append(1e3 * (time.process_time() - start))
    return times
