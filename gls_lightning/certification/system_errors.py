"""Errors of the operating system, told in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import STORAGE_ERRORS

RECORDS_KEPT = "the records before are whole: make room, and the same command goes on"


@contextmanager
def refused_by_system(path: Path, advice: str) -> Iterator[None]:
    """Adds advice to an error of the system, or turns it into a ``ConfigurationError``.

    Args:
        path: The file or directory, for the message.
        advice: Advice to the user.

    Raises:
        OSError: A disk is full or fails; the advice is a note of the error.
        ConfigurationError: In place of any other error, such as a missing permission: the path is bad input.
    """
    try:
        yield
    except OSError as error:
        if error.errno in STORAGE_ERRORS:
            error.add_note(f"{path}: {advice}")
            raise
        raise ConfigurationError(f"{path}: {error.strerror}; {advice}") from error
