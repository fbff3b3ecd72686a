"""A lock that one process has at a time, together with the processes that it starts."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(folder: Path) -> Iterator[int]:
    """Waits until no other process works in a folder, and keeps others out; the system ends it with the process.

    Args:
        folder: The folder, which is made where there is none.

    Yields:
        The descriptor, for processes that are to hold the lock as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process is at work in {folder}; waiting for its end", flush=True)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream.fileno()
