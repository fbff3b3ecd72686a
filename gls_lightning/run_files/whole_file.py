"""Files that are there completely or not at all."""

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from glob import escape
from io import FileIO
from pathlib import Path

STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
"""Numbers of the system's errors that say that a disk takes no more: it is full, or fails."""
_NO_DIRECTORY_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file under another name beside it, and gives it its own once all of it is on the disk.

    What processes that were killed left of their drafts in its folder is removed.

    Args:
        path: The file; one that is there is replaced.
        write: Writes to the path that it is given.

    Raises:
        OSError: It cannot be written; a file that was there is as it was.
    """
    _remove_abandoned_drafts(path.parent.resolve())
    draft = path.with_name(f".{path.name}{_ending_of_drafts()}{os.getpid()}")
    try:
        write(draft)
        flush(draft)
        draft.replace(path)
        _flush_directory(path.parent)
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)  # the draft's name means nothing to the user, and writing names none
        raise
    finally:
        draft.unlink(missing_ok=True)


def append_whole(path: Path, content: bytes) -> None:
    """Appends to a file, and leaves it as it was where not all of it can be written.

    Args:
        path: The file, which is there.
        content: What is appended.

    Raises:
        OSError: It cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as stream:
            write_or_undo(stream, content, path.stat().st_size)
    except OSError as error:
        error.filename = str(path)
        raise


def write_or_undo(stream: FileIO, content: bytes, size: int) -> None:
    """Writes all of the content at the end of an unbuffered file of this size, or leaves the file as it was.

    Raises:
        OSError: It cannot be written.
    """
    try:
        while content:
            content = content[stream.write(content) or 0 :]
    except OSError:
        with suppress(OSError):  # the error before tells more
            stream.truncate(size)
        raise


def _ending_of_drafts() -> str:
    """Returns the end of a draft's name up to the process; on other machines, of unknown processes, it differs."""
    return f".{socket.gethostname()}."


@cache
def _remove_abandoned_drafts(folder: Path) -> None:
    """Removes drafts of dead processes, once in each process, because a folder may have very many files."""
    for path in folder.glob(f".*{escape(_ending_of_drafts())}*"):
        process = path.name.rpartition(_ending_of_drafts())[2]
        if process.isdecimal() and not _is_alive(int(process)):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def flush(path: Path) -> None:
    """Waits until a file is on the disk.

    Raises:
        OSError: It cannot be written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)


def _flush_directory(path: Path) -> None:
    """Makes the new name last; some file systems know no such thing."""
    try:
        flush(path)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_FLUSH:
            raise
