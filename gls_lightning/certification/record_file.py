"""A process's file of records."""

import os
from contextlib import suppress
from io import FileIO
from itertools import chain, count
from pathlib import Path
from typing import Any

from gls_lightning.certification.fingerprint import Fingerprint
from gls_lightning.certification.record import Record
from gls_lightning.certification.record_line import as_json, encode
from gls_lightning.certification.system_errors import RECORDS_KEPT, refused_by_system
from gls_lightning.run_files import write_or_undo

_UNSYNCED_SECONDS = 1.0
"""Seconds of work that a power failure may undo."""


class RecordFile:
    """A new file, to which this process alone writes.

    It is called ``records-<start>-<end>-rank<rank>.jsonl``, with a number added if that exists. Records stay in the
    file however the process ends; a power failure costs at most one second's work.

    Args:
        directory: Directory of the file.
        fingerprint: Fingerprint of the network, radius and test set.
        chosen: Indices of the samples that all processes together are to certify.
        rank: Number of this process.
        certifier: Description of the certifier, as values of JSON.

    Attributes:
        path: The file.

    Raises:
        ConfigurationError: The file cannot be written.
    """

    def __init__(
        self, directory: Path, fingerprint: Fingerprint, chosen: range, rank: int, certifier: dict[str, Any]
    ) -> None:
        name = f"records-{chosen.start}-{chosen.stop}-rank{rank}"
        with refused_by_system(directory, "choose a directory for new files with --output"):
            self._file = _new_file(directory, name)
        self.path = Path(str(self._file.name))
        self._size = 0
        self._unsynced = 0.0
        about = {"start": chosen.start, "end": chosen.stop, "certifier": certifier}
        self._write({"fingerprint": dict(fingerprint), **about})

    def append(self, record: Record) -> None:
        """Writes a record.

        Raises:
            OSError: There is no room for it; earlier records stay as they are.
        """
        self._write(as_json(record))
        self._unsynced += record.seconds
        if self._unsynced >= _UNSYNCED_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Forces everything onto the disk, or onto the server of a network file system.

        Raises:
            OSError: The disk is full or fails.
        """
        with refused_by_system(self.path, RECORDS_KEPT):
            os.fsync(self._file.fileno())
        self._unsynced = 0.0

    def close(self) -> None:
        """Closes the file."""
        self.sync()
        self._file.close()

    def _write(self, content: dict[str, Any]) -> None:
        """Writes a whole line or nothing."""
        line = encode(content)
        with refused_by_system(self.path, RECORDS_KEPT):
            write_or_undo(self._file, line, self._size)
        self._size += len(line)


def _new_file(directory: Path, name: str) -> FileIO:
    for path in chain([directory / f"{name}.jsonl"], (directory / f"{name}-{number}.jsonl" for number in count(2))):
        with suppress(FileExistsError):
            return path.open("xb", buffering=0)
    raise AssertionError("numbers end")
