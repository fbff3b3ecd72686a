"""The points of the front, trained again with further seeds, and measured on the test images."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gls_lightning.commands.front.heartbeat import Heartbeat
from gls_lightning.commands.front.search import LOGS, Search, held_out_accuracies, placed
from gls_lightning.commands.front.search_space import options_of_fit
from gls_lightning.executors import Execution, Job, exclusive, run_gls, run_jobs
from gls_lightning.run_files import CHECKPOINTS, EvaluatedMetrics, FrontPoint, evaluation_directory

POINTS = "points"


@dataclass(frozen=True)
class Repetition:
    """A point of the front with one seed.

    Attributes:
        search: The search.
        trial: Number of the point's trial.
        values: What the trial varied.
        seed: The seed.
    """

    search: Search
    trial: int
    values: Mapping[str, Any]
    seed: int

    @property
    def name(self) -> str:
        """Name of the run's directory."""
        return f"trial_{self.trial}_seed_{self.seed}"

    @property
    def run(self) -> Path:
        """Directory of the run."""
        return self.search.directory / POINTS / self.name

    @property
    def checkpoint(self) -> Path:
        """The weights that the last validation is of."""
        return self.run / CHECKPOINTS / "last.ckpt"

    @property
    def tested(self) -> Path:
        """File with the accuracies on the test images."""
        return evaluation_directory("test", self.checkpoint) / EvaluatedMetrics.FILE

    @property
    def jobs(self) -> list[Job]:
        """Jobs that train it and then test it."""
        fit, words = f"{self.name}_fit", ["test", "--ckpt_path", str(self.checkpoint)]
        test = Job(f"{self.name}_test", run_gls, [[*words, "--trainer.enable_progress_bar=false"]], after=[fit])
        return [Job(fit, self.train), test]

    def train(self) -> None:
        """Trains; waits for an earlier attempt that goes on though its search was killed."""
        with exclusive(self.search.directory / "locks" / self.name) as lock:
            shutil.rmtree(self.run, ignore_errors=True)
            options = [*options_of_fit(self.values), f"--seed_everything={self.seed}"]
            run_gls([*self.search.fit, *options, *placed(self.search.directory, POINTS, self.name)], lock)


def repeat(repetitions: Sequence[Repetition], execution: Execution, claim: Heartbeat) -> Mapping[str, str]:
    """Trains and tests all that was not tested before; a failure is said and returned, and the others go on."""
    jobs = [job for of in repetitions if not of.tested.is_file() for job in of.jobs]

    def end(job: Job, failure: str | None) -> None:
        print(f"{job.name}: {failure or 'done'}", flush=True)

    def beat() -> bool:
        claim.beat()
        return False

    return run_jobs(jobs, repetitions[0].search.directory / LOGS, execution, end, enough=beat) if jobs else {}


def points(trials: Sequence[int], repetitions: Sequence[Repetition]) -> list[FrontPoint]:
    """Reads what the repetitions of each point gave, without those that failed.

    Args:
        trials: Numbers of the points' trials.
        repetitions: What there is to be of each, perhaps nothing.
    """
    found: list[FrontPoint] = []
    for trial in trials:
        done = [of for of in repetitions if of.trial == trial and of.tested.is_file()]
        held_out = [held_out_accuracies(of.run) for of in done]
        tested = [EvaluatedMetrics.read(of.tested).metrics for of in done]
        on_test = ([float(of[f"test/{kind}_accuracy"] or 0) for of in tested] for kind in ("natural", "certified"))
        kept = [pair for pair in held_out if pair is not None]
        found.append(FrontPoint(trial, [of.seed for of in done], [a for a, _ in kept], [b for _, b in kept], *on_test))
    return found
