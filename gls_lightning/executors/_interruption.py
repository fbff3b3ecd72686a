"""Signals that end a command whose jobs run in processes of their own."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


@contextmanager
def interruptible() -> Iterator[None]:
    """Lets SIGTERM end a command as Ctrl-C does, also where a shell has it ignore Ctrl-C, which ends jobs."""

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, terminate),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
