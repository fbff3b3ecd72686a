"""The points of the front, trained again with further seeds, and measured on the test images."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gls_lightning.commands.front.heartbeat import Heartbeat
from gls_lightning.commands.front.jobs import Job
from gls_lightning.commands.front.search import PAUSE, Search, held_out_accuracies, placed
from gls_lightning.commands.front.search_space import options_of_fit
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

    def fit(self) -> Job:
        """Trains."""
        shutil.rmtree(self.run, ignore_errors=True)  # of an interrupted attempt
        options = [*options_of_fit(self.values), f"--seed_everything={self.seed}"]
        words = [*self.search.fit, *options, *placed(self.search.directory, POINTS, self.name)]
        return self.search.executor.submit(words, self._log("fit"))

    def test(self) -> Job:
        """Measures on the test images."""
        words = ["test", "--ckpt_path", str(self.checkpoint), "--trainer.enable_progress_bar=false"]
        return self.search.executor.submit(words, self._log("test"))

    def _log(self, command: str) -> Path:
        return self.search.directory / "logs" / f"{self.name}_{command}.txt"


def repeat(repetitions: Sequence[Repetition], jobs: int, claim: Heartbeat) -> None:
    """Trains and tests all that was not tested before; a failure is said, and the others go on."""
    waiting = [of for of in repetitions if not of.tested.is_file()]
    running: list[tuple[Repetition, Job, bool]] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append((waiting[0], waiting.pop(0).fit(), False))
            time.sleep(PAUSE)
            claim.beat()
            for entry in [entry for entry in running if entry[1].done()]:
                running.remove(entry)
                of, job, is_test = entry
                if failure := job.failure():
                    print(f"{of.name} failed: {failure}", flush=True)
                elif is_test:
                    print(f"{of.name} is trained and tested", flush=True)
                else:
                    running.append((of, of.test(), True))
    finally:
        for _, job, _ in running:
            job.cancel()


def points(repetitions: Sequence[Repetition]) -> list[FrontPoint]:
    """Reads what the repetitions of each point gave, without those that failed."""
    found: list[FrontPoint] = []
    for trial in dict.fromkeys(of.trial for of in repetitions):
        done = [of for of in repetitions if of.trial == trial and of.tested.is_file()]
        held_out = [held_out_accuracies(of.run) for of in done]
        tested = [EvaluatedMetrics.read(of.tested).metrics for of in done]
        on_test = ([float(of[f"test/{kind}_accuracy"] or 0) for of in tested] for kind in ("natural", "certified"))
        kept = [pair for pair in held_out if pair is not None]
        found.append(FrontPoint(trial, [of.seed for of in done], [a for a, _ in kept], [b for _, b in kept], *on_test))
    return found
