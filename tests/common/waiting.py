"""Waiting for what other processes do."""

import time
from collections.abc import Callable


def until(is_so: Callable[[], object], seconds: float = 120) -> None:
    """Waits until a function returns something true."""
    limit = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < limit, "it did not come"
        time.sleep(0.05)
