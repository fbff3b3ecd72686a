"""Signs of life of processes, on this machine or another, in files of a directory that they share."""

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

SILENCE = 60.0
"""Seconds without a sign of life after which a process counts as dead."""


class Heartbeat:
    """A file that a process touches while it lives.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self) -> bool:
        """Makes the file in the name of this process; says whether no other living process has it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and not self.is_alive():
            self.release()
        try:
            with self.path.open("x") as file:
                json.dump({"host": socket.gethostname(), "process": os.getpid()}, file)
        except FileExistsError:
            return False
        return True

    def beat(self) -> None:
        """Tells that this process lives."""
        with suppress(FileNotFoundError):  # another process held this one for dead
            os.utime(self.path)

    def release(self) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)

    def is_alive(self) -> bool:
        """Says whether the process lives; of one on another machine, whether it gave a sign lately."""
        try:
            silence = time.time() - self.path.stat().st_mtime
            owner = json.loads(self.path.read_text())
        except FileNotFoundError:
            return False
        except ValueError:  # it is being written, or its writer died there
            return silence < SILENCE
        if owner["host"] == socket.gethostname():
            with suppress(PermissionError):
                try:
                    os.kill(owner["process"], 0)
                except ProcessLookupError:
                    return False
        return silence < SILENCE
