"""Claims: the samples that a process is deciding, made known to the other processes."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

# bytes of the file, all below 4 GiB, which every file system allows
_SUMMARY = 0
_PROCESSES = range(1, 65)
_FIRST_SAMPLE = 2**16
_FIRST_FILE = 2**31


class Claims:
    """Samples that this process decides alone, while other processes decide others.

    A claim is the lock of one byte in an empty file: there is a byte for each sample, and for each file of records. The
    system releases the locks of a process when it ends, for whatever reason, so no claim outlives its process. On a
    network file system that supports locks, claims hold across machines. Where there are no locks, every claim is
    granted.

    A process must open the file only once. Threads of one process share their claims.

    Args:
        path: The file.

    Attributes:
        problem: Reason why there are no locks; None if there are.
    """

    def __init__(self, path: Path) -> None:
        self.problem: str | None = None
        self._path = path
        self._held: list[int] = []
        self._file: int | None = None
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            self._give_up(error.strerror or str(error))
        if not hasattr(os, "lockf"):
            self._give_up("the system has none")
        self._place = next((place for place in _PROCESSES if self._do("F_TLOCK", place)), None)

    def take(self, index: int) -> bool:
        """Claims a sample; returns False if another process has it."""
        if granted := self._do("F_TLOCK", _FIRST_SAMPLE + index):
            self._held.append(index)
        return granted

    def is_taken(self, index: int) -> bool:
        """Says whether another process has the sample."""
        return not self._do("F_TEST", _FIRST_SAMPLE + index)

    def give_back(self) -> None:
        """Gives all samples back."""
        while self._held:
            self._do("F_ULOCK", _FIRST_SAMPLE + self._held.pop())

    def own(self, name: str) -> None:
        """Claims a file of records until this process ends."""
        self._do("F_TLOCK", _byte_of_file(name))

    def is_written(self, name: str) -> bool:
        """Says whether another process writes to the file of records."""
        return not self._do("F_TEST", _byte_of_file(name))

    def others(self) -> int:
        """Counts the other processes that are at work here."""
        return sum(not self._do("F_TEST", place) for place in _PROCESSES)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until no other process is in this context, and keeps others out."""
        self._do("F_LOCK", _SUMMARY)
        try:
            yield
        finally:
            self._do("F_ULOCK", _SUMMARY)

    def close(self) -> None:
        """Gives everything back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _do(self, command: str, byte: int) -> bool:
        """Runs a command of ``os.lockf``; returns False if another process holds the lock."""
        if self.problem is None and self._file is not None:
            try:
                os.lseek(self._file, byte, os.SEEK_SET)
                os.lockf(self._file, getattr(os, command), 1)
            except (BlockingIOError, PermissionError):  # which of them depends on the system
                return False
            except OSError as error:  # no locks in this file system, or not any more
                self._give_up(error.strerror or str(error))
        return True

    def _give_up(self, problem: str) -> None:
        self.problem = problem
        warnings.warn(
            f"{self._path} takes no locks ({problem}), so commands that work there at the same time decide the same "
            "samples; that costs time and harms nothing.",
            stacklevel=2,
        )


def _byte_of_file(name: str) -> int:
    return _FIRST_FILE + crc32(name.encode()) % _FIRST_FILE
