"""Commands of ``gls`` in processes of their own."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from gls_lightning.executors import gls_command


class Job(Protocol):
    """A command that runs."""

    def done(self) -> bool:
        """Says whether it has ended."""

    def failure(self) -> str:
        """Says why it failed, once it has ended; nothing if it did not."""

    def cancel(self) -> None:
        """Ends it."""


class Executor(Protocol):
    """Something that runs commands, here or elsewhere."""

    def submit(self, words: Sequence[str], log: Path) -> Job:
        """Starts ``gls`` with these words; its output goes into a file."""


class LocalProcesses:
    """Processes of this machine."""

    def submit(self, words: Sequence[str], log: Path) -> "LocalJob":
        """See :meth:`Executor.submit`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                gls_command(words), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        return LocalJob(process, log)


class LocalJob:
    """A process of this machine.

    Args:
        process: The process.
        log: Its output.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process, self.log = process, log

    def done(self) -> bool:
        """See :meth:`Job.done`."""
        return self.process.poll() is not None

    def failure(self) -> str:
        """See :meth:`Job.failure`."""
        if self.process.returncode == 0:
            return ""
        lines = self.log.read_text(errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
        return f"code {self.process.returncode}, {last} ({self.log})"

    def cancel(self) -> None:
        """See :meth:`Job.cancel`."""
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
