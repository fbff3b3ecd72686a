"""The check that results can be written into a directory."""

from pathlib import Path
from tempfile import TemporaryDirectory

from gls_lightning.errors import ConfigurationError


def require_writable_directory(directory: str | Path, name: str) -> None:
    """Refuses a directory into which nothing can be written; makes none itself.

    Args:
        directory: The directory; it need not exist yet.
        name: Name of the argument, for the message.

    Raises:
        ConfigurationError: The path is a file, lies below one, or may not be made or written into.
    """
    path = Path(directory).absolute()
    try:
        existing = next(place for place in (path, *path.parents) if place.exists())
        if not existing.is_dir():
            below = "" if existing == path else f", below {existing}"
            raise ConfigurationError(f"{name} is {directory}{below}, which is a file; it must be a directory")
        with TemporaryDirectory(dir=existing, prefix=".gls-"):
            pass
    except OSError as error:
        raise ConfigurationError(f"{name} is {directory}, where nothing can be written: {error.strerror}") from error
