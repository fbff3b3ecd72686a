"""Refusals of the operating system, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import STORAGE_ERRORS

RECORDS_KEPT = "the records before are whole: make room, and the same command goes on"


@contextmanager
def refused_by_system(path: Path, advice: str) -> Iterator[None]:
    """Says what to do about an error of the system; one that comes from the path itself is bad input.

    Args:
        path: What the message names.
        advice: What would be right.

    Raises:
        OSError: A disk is full or fails; with a note.
        ConfigurationError: In place of any other one, such as a directory without permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno in STORAGE_ERRORS:
            error.add_note(f"{path}: {advice}")
            raise
        raise ConfigurationError(f"{path}: {error.strerror}; {advice}") from error
