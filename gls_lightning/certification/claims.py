"""What processes tell each other about the samples that they are deciding."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SUMMARY = 0
_PROCESSES = range(1, 65)
_FIRST_SAMPLE = 2**16


class Claims:
    """Samples that this process is deciding, and no other one meanwhile.

    A claim is the lock of a byte of a file that stays empty, one byte for each sample. The system takes it back with
    its process, however that ends, so no claim outlives its process. Where a network file system passes locks on, they
    hold among its machines, too; where there are no locks, every claim is granted.

    A process must open the file only once; threads of a process are not kept apart.

    Args:
        path: The file.

    Attributes:
        problem: Why there are no locks; None where there are.
    """

    def __init__(self, path: Path) -> None:
        self.problem = None if hasattr(os, "lockf") else "this system has none"
        self._held: list[int] = []
        self._file: int | None = None
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            self.problem = error.strerror
        self._place = next((place for place in _PROCESSES if self._do("F_TLOCK", place)), None)

    def take(self, index: int) -> bool:
        """Claims a sample; False if another process has it."""
        if granted := self._do("F_TLOCK", _FIRST_SAMPLE + index):
            self._held.append(index)
        return granted

    def is_taken(self, index: int) -> bool:
        """Whether another process has the sample."""
        return not self._do("F_TEST", _FIRST_SAMPLE + index)

    def give_back(self) -> None:
        """Gives all samples back."""
        while self._held:
            self._do("F_ULOCK", _FIRST_SAMPLE + self._held.pop())

    def others(self) -> int:
        """How many other processes are at work here."""
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
        """Whether another process does not stand against a command of ``os.lockf``."""
        if self.problem is None and self._file is not None:
            try:
                os.lseek(self._file, byte, os.SEEK_SET)
                os.lockf(self._file, getattr(os, command), 1)
            except (BlockingIOError, PermissionError):  # which of them depends on the system
                return False
            except OSError as error:  # no locks in this file system, or not any more
                self.problem = error.strerror
        return True
