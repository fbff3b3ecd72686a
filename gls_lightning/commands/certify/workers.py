"""Processes that share one certification, here or by SLURM, while the command that starts them waits."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gls_lightning.command_line.parser import CommandParser
from gls_lightning.executors import Execution, Job, run_gls, run_jobs

_SECONDS_BETWEEN_READINGS, _SECONDS_TO_END = 1.0, 30.0


@dataclass(frozen=True)
class Workers:
    """Processes that decide the images together, each by the same command line.

    Args:
        words: The words behind ``gls``, without those about the workers.
        execution: Where they run, and how many: as many as run at once, and with SLURM one by default.
    """

    words: Sequence[str]
    execution: Execution

    def run(self, logs: Path, all_decided: Callable[[], bool]) -> Mapping[str, str]:
        """Starts them and waits until all have ended; says at once when one fails.

        Those that have not ended half a minute after all is decided, as SLURM may not have started them, are cancelled.

        Args:
            logs: The folder for the log of each.
            all_decided: Says whether all images are decided; called again and again.

        Returns:
            What was wrong, by the name of the worker.

        Raises:
            ConfigurationError: There is no such executor here.
        """
        environments = self.execution.environments()
        number = (self.execution.jobs or 1) if environments is None else len(environments)
        words = [*self.words, "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
        jobs = [Job(f"worker_{n}", run_gls, (words,)) for n in range(1, number + 1)]
        return run_jobs(jobs, logs, self.execution, _say_failure, _some_time_after(all_decided))


def _some_time_after(happened: Callable[[], bool]) -> Callable[[], bool]:
    """Returns what says whether something has happened long enough ago; it is asked no more than once a second."""
    next_reading, end = 0.0, math.inf

    def is_over() -> bool:
        nonlocal next_reading, end
        now = time.monotonic()
        if end == math.inf and now >= next_reading:
            next_reading = now + _SECONDS_BETWEEN_READINGS
            end = now + _SECONDS_TO_END if happened() else math.inf
        return now >= end

    return is_over


def _say_failure(job: Job, failure: str | None) -> None:
    if failure is not None:
        print(f"{job.name}: {failure}", flush=True)


def take_workers(words: Sequence[str]) -> tuple[list[str], Workers | None]:
    """Takes the options about workers, which only the command line has, out of the words behind ``gls``.

    Returns:
        The other words, and the workers; None where the command itself does all the work.

    Raises:
        ConfigurationError: A value is wrong.
    """
    if words[:1] != ["certify"]:
        return list(words), None
    parser = CommandParser(prog="gls certify", add_help=False)
    parser.add_class_arguments(Execution)
    own, options = parser.divide(words[1:])
    if not own:
        return list(words), None
    others, execution = [words[0], *options], Execution.of(parser.parse_args(own))
    return others, None if execution == Execution() else Workers(others, execution)
