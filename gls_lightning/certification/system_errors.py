"""What the system refuses, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gls_lightning.errors import ConfigurationError

RECORDS_KEPT = "the records before are whole: make room, and the same command goes on"


@contextmanager
def refused_by_system(path: Path, advice: str) -> Iterator[None]:
    """Makes an error of the system bad input: a full disk, a directory without permission.

    Args:
        path: What the message names.
        advice: What would be right.

    Raises:
        ConfigurationError: In place of the error.
    """
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; {advice}") from error
