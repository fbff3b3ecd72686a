"""A job, and its part in the process that works on it."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gls_lightning.executors.command_line import FailedCommandError


@dataclass(frozen=True)
class Job:
    """A function that runs in a process of its own.

    It is called again where an earlier process ended before it was done, so it leaves out what it finds done.

    Attributes:
        name: Tells it from the others, and names its log.
        function: What is done; a function of a module, so that another process finds it.
        arguments: Its arguments, which pickle.
        after: Names of the jobs that must have succeeded before.
    """

    name: str
    function: Callable[..., None]
    arguments: Sequence[Any] = ()
    after: Sequence[str] = ()


def log_file(folder: Path, job: Job) -> Path:
    """Returns the file that has all that a job prints, among those of a folder."""
    return folder / f"{job.name}.log"


def work(job: Job, log: Path, environment: Mapping[str, str | None]) -> str | None:
    """Does a job in the process that was started for it.

    Args:
        job: The job.
        log: The file that everything printed is appended to.
        environment: Variables to set; None removes one.

    Returns:
        Which command failed, and with which code; None after success.
    """
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    logging.getLogger("submitit").setLevel(logging.WARNING)  # it would say that it is done in the job's log
    try:
        job.function(*job.arguments)
    except FailedCommandError as failure:
        return str(failure)
    return None
