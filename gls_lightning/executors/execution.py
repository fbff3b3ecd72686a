"""Where jobs run, and how many at once."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

from submitit import LocalExecutor, LocalJob, SlurmExecutor
from submitit.core.core import Job as Submitted
from submitit.core.utils import FailedJobError

from gls_lightning.arguments import require
from gls_lightning.errors import ConfigurationError
from gls_lightning.executors._interruption import interruptible
from gls_lightning.executors.devices import share_of_machine, visible_gpus
from gls_lightning.executors.job import Job, log_file, work

_YEAR = 366 * 24 * 60
_DEFAULTS: dict[str, Any] = {"stderr_to_stdout": True}
_PAUSE = 0.2
_DEATH = "its process died"
_LAST_LINES, _SECONDS_TO_END = 10, 10.0


@dataclass(frozen=True)
class Execution:
    """Where jobs run.

    Args:
        executor: ``local``, processes on this machine; or ``slurm``, one SLURM job for each.
        jobs: How many run at once: on this machine on each GPU, or on the CPU if there is none; with SLURM in all. By
            default 1 on this machine, and with SLURM all that there are.
        slurm: Parameters of SLURM's jobs, named as options of ``sbatch``: ``partition``, ``time`` in minutes (by
            default 1440), ``gpus_per_node``, ``cpus_per_task``, ``mem``, ``account`` and so on.

    Raises:
        ConfigurationError: ``jobs`` is below 1, or ``slurm`` is given for this machine.
    """

    executor: Literal["local", "slurm"] = "local"
    jobs: int | None = None
    slurm: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the values."""
        require(self.jobs is None or self.jobs >= 1, "jobs", self.jobs, "at least 1")
        if self.slurm and self.executor != "slurm":
            raise ConfigurationError(f"slurm is {dict(self.slurm)}, which needs --executor=slurm")

    @classmethod
    def of(cls, options: Any) -> "Execution":
        """Returns what a parser read that has the arguments of this class.

        Args:
            options: The namespace.
        """
        return cls(options.executor, options.jobs, options.slurm or {})

    def start(self, folder: Path) -> LocalExecutor | SlurmExecutor:
        """Makes the executor of submitit, whose files lie in a folder.

        Raises:
            ConfigurationError: There is no SLURM here, or no such parameter of its jobs.
        """
        if self.executor == "local":
            executor = LocalExecutor(folder)
            executor.update_parameters(timeout_min=_YEAR, **_DEFAULTS)
            return executor
        try:
            slurm = SlurmExecutor(folder)
            slurm.update_parameters(**{"time": 24 * 60, **_DEFAULTS, **self.slurm})
        except RuntimeError as error:
            raise ConfigurationError("executor is slurm, but there is no SLURM here: srun is not found") from error
        except ValueError as error:
            raise ConfigurationError(f"slurm is {dict(self.slurm)}: {' '.join(str(error).split())}") from error
        return slurm

    def environments(self) -> list[dict[str, str | None]] | None:
        """Returns the variables for each of the jobs that run at once; None where SLURM decides about them."""
        if self.executor == "slurm":
            return None
        gpus = visible_gpus()
        slots = (self.jobs or 1) * max(1, len(gpus))
        return [share_of_machine(slot, slots, gpus) for slot in range(slots)]


def run_jobs(
    jobs: Sequence[Job],
    folder: Path,
    execution: Execution,
    ended: Callable[[Job, str | None], None],
    enough: Callable[[], bool] = lambda: False,
) -> dict[str, str]:
    """Runs jobs; one that fails or dies costs itself and those that come after it alone.

    However this ends, by Ctrl-C or SIGTERM too, no job goes on; only SIGKILL leaves them running.

    Args:
        jobs: The jobs, in the order in which they start; each behind those that it comes after.
        folder: For the log of each job.
        execution: Where they run.
        ended: Called with each job when it has ended, and with what was wrong.
        enough: Called again and again; says whether the jobs that have not ended are no longer needed.

    Returns:
        What was wrong, by the name of the job.

    Raises:
        ConfigurationError: There is no such executor here.
    """
    waiting, failures = list(jobs), dict[str, str]()

    def end(job: Job, failure: str | None) -> None:
        if failure is not None:
            failures[job.name] = failure
        ended(job, failure)

    with RunningJobs(folder, execution) as run:
        while (waiting or run.running) and not enough():
            for job, failure in run.collect():
                end(job, failure)
            for job in list(waiting):
                if lost := [name for name in job.after if name in failures]:
                    waiting.remove(job)
                    end(job, f"not started, because {lost[0]} failed")
                elif run.has_room and not {*job.after} & {*run.running, *(other.name for other in waiting)}:
                    waiting.remove(job)
                    run.start(job)
                    break  # sbatch takes its time, and the caller may have to give signs of life
    return failures


class RunningJobs:
    """The jobs that are at work: ``with RunningJobs(...) as jobs`` starts them as room comes, and collects them.

    However the block ends, by Ctrl-C or SIGTERM too, no job goes on; only SIGKILL leaves them running.

    Args:
        folder: For their logs.
        execution: Where they run.

    Raises:
        ConfigurationError: There is no such executor here.
    """

    def __init__(self, folder: Path, execution: Execution) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._own = TemporaryDirectory(prefix=".submitit-", dir=folder, ignore_cleanup_errors=True)
        self.executor = execution.start(Path(self._own.name).absolute())
        self.running: dict[str, tuple[int, Job, Submitted[str | None]]] = {}
        self._environments = execution.environments()
        self._most = execution.jobs if self._environments is None else len(self._environments)
        self._block = ExitStack()

    def __enter__(self) -> Self:
        self._block.enter_context(interruptible())
        self._block.enter_context(_safe_path())
        self._block.callback(self._end)
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all jobs that are at work."""
        self._block.close()

    def _end(self) -> None:
        submitted = [job for *_, job in self.running.values()]
        for job in submitted:
            job.cancel(check=False)
        limit = time.monotonic() + _SECONDS_TO_END
        while not all(job.done() for job in submitted) and time.monotonic() < limit:
            time.sleep(_PAUSE)
        self._own.cleanup()

    @property
    def has_room(self) -> bool:
        """Says whether one more may start."""
        return self._most is None or len(self.running) < self._most

    def start(self, job: Job) -> None:
        """Starts a job."""
        slot = min(set(range(len(self.running) + 1)) - {taken for taken, *_ in self.running.values()})
        environment = {} if self._environments is None else self._environments[slot]
        log = log_file(self.folder, job)
        with _errors_into(log):
            self.running[job.name] = slot, job, self.executor.submit(work, job, log.absolute(), environment)

    def collect(self) -> Iterator[tuple[Job, str | None]]:
        """Waits a moment, then takes out the jobs that have ended, each with what was wrong."""
        time.sleep(_PAUSE)
        for _, job, submitted in list(self.running.values()):
            if submitted.done():
                del self.running[job.name]
                yield job, self._failure(job, submitted)

    def _failure(self, job: Job, submitted: Submitted[str | None]) -> str | None:
        # submitit itself would wait for the result, as a slow file system may bring it later.
        if isinstance(submitted, LocalJob) and not submitted.paths.result_pickle.exists():
            failure: str | None = _DEATH
        elif (error := submitted.exception()) is not None:
            failure = "an error" if isinstance(error, FailedJobError) else _DEATH
        else:
            failure = submitted.result()
        if failure is None:
            return None
        log = log_file(self.folder, job)
        text = log.read_text(errors="replace") or submitted.stdout() or ""
        return "\n".join([f"{failure}; the end of {log}:", *(f"  {line}" for line in text.splitlines()[-_LAST_LINES:])])


@contextmanager
def _errors_into(log: Path) -> Iterator[None]:
    """Lets processes that start meanwhile write their errors into a log: those between this process and a job."""
    before = os.dup(2)
    try:
        with log.open("ab") as stream:
            os.dup2(stream.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Lets processes that start meanwhile import nothing from the working directory by accident."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before
