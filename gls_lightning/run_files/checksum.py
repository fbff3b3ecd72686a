"""A checksum in a zip archive, which PyTorch's checkpoints are.

It is the archive's comment, which other readers ignore, and covers every byte before its own digits.
"""

import hashlib
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile

_MARK = b"gls_lightning sha256 "
_LENGTH = len(_MARK) + 2 * hashlib.sha256().digest_size
_FIRST, _LAST, _LAST_LENGTH = b"PK\x03\x04", b"PK\x05\x06", 22
_BLOCK = 1 << 20


def seal(archive: bytearray) -> None:
    """Appends a checksum to the content of an archive that has no comment yet."""
    if archive[-_LAST_LENGTH:-18] != _LAST or archive[-2:] != b"\0\0":
        raise ValueError("the content does not end as a zip archive without a comment does")
    archive[-2:] = _LENGTH.to_bytes(2, "little")
    archive += _MARK
    archive += hashlib.sha256(archive).hexdigest().encode()


def is_archive(path: Path) -> bool:
    """Says whether a file begins as a zip archive does."""
    with path.open("rb") as stream:
        return stream.read(len(_FIRST)) == _FIRST


def is_damaged(path: Path) -> bool:
    """Says whether the content of an archive is not what was written.

    Without a checksum of ours, the archive's own ones of its parts decide. What is no archive has none.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _LENGTH))
        end = stream.read()
        if _MARK in end:
            digest = _sha256(stream, size - _LENGTH + len(_MARK))
            return end != _MARK + digest
    if not is_archive(path):
        return False
    try:
        with ZipFile(path) as archive:
            return archive.testzip() is not None
    except (BadZipFile, EOFError, NotImplementedError):
        return True


def _sha256(stream: BinaryIO, size: int) -> bytes:
    """Returns the digits of the checksum of so many bytes from the beginning."""
    digest = hashlib.sha256()
    stream.seek(0)
    while size and (block := stream.read(min(size, _BLOCK))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest().encode()
