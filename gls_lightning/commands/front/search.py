"""The trials of a search, several side by side."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gls_lightning.commands.front.jobs import Executor, Job
from gls_lightning.commands.front.search_space import SearchSpace, options_of_fit
from gls_lightning.commands.front.search_study import Outcome, SearchStudy
from gls_lightning.reports import read_metrics
from gls_lightning.run_files import PRUNED

PAUSE = 0.2
"""Seconds between looks at the processes."""
TRIALS = "trials"


def placed(directory: Path, folder: str, run: str) -> list[str]:
    """Writes the options that put a run into ``FOLDER/RUN`` of a directory, whichever loggers the configuration has."""
    place = {"save_dir": str(directory), "name": folder, "version": run}
    logger = "--trainer.logger"
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    return [
        *quiet,
        f"{logger}=lightning.pytorch.loggers.CSVLogger",
        *(f"{logger}.{key}={value}" for key, value in place.items()),
    ]


def held_out_accuracies(run: Path) -> tuple[float, float] | None:
    """Reads natural and certified accuracy of the last validation; None if they are absent or not finite."""
    _, last = read_metrics(run).last_validation()
    return (last["natural"], last["certified"]) if {"natural", "certified"} <= last.keys() else None


@dataclass(frozen=True)
class Search:
    """A search over a configuration.

    Attributes:
        directory: Where everything of it lies.
        fit: The words of ``gls`` that train with the configuration.
        space: What varies.
        margin: By how much a run must be dominated to be ended early; None for never.
        executor: What runs the trials.
    """

    directory: Path
    fit: Sequence[str]
    space: SearchSpace
    margin: float | None
    executor: Executor

    def run(self, study: SearchStudy, trials: int, jobs: int) -> None:
        """Runs trials until as many have begun, by all processes together, and those of this process have ended."""
        running: dict[int, Job] = {}
        try:
            while True:
                while len(running) < jobs and (begun := study.begin(self.space, trials)) is not None:
                    number, values = begun
                    print(f"trial {number}: {' '.join(options_of_fit(values))}", flush=True)
                    running[number] = self._start(study, number, options_of_fit(values))
                if not running:
                    return
                time.sleep(PAUSE)
                for number in running:
                    study.heartbeat(number).beat()
                for number in [number for number, job in running.items() if job.done()]:
                    self._end(study, number, running.pop(number))
        finally:  # an interruption
            for number, job in running.items():
                job.cancel()
                study.abandon(number)

    def _start(self, study: SearchStudy, number: int, options: Sequence[str]) -> Job:
        words = [*self.fit, *options, *self._pruning(study), *placed(self.directory, TRIALS, f"trial_{number}")]
        return self.executor.submit(words, self.directory / "logs" / f"trial_{number}.txt")

    def _pruning(self, study: SearchStudy) -> list[str]:
        front = [list(trial.values) for trial in study.front()]
        if self.margin is None or not front:
            return []
        callback = "--trainer.callbacks"
        name = "gls_lightning.callbacks.EndOfDominatedRun"
        return [f"{callback}+={name}", f"{callback}.front={front}", f"{callback}.margin={self.margin}"]

    def _end(self, study: SearchStudy, number: int, job: Job) -> None:
        run = self.directory / TRIALS / f"trial_{number}"
        say = partial(print, f"trial {number}", flush=True)
        if failure := job.failure():
            say(f"failed: {failure}")
            study.end(number, Outcome(None))
        elif (accuracies := held_out_accuracies(run)) is None:
            say(f"failed: {run} has no finite natural and certified accuracy in its last validation")
            study.end(number, Outcome(None))
        else:
            pruned = (run / PRUNED).is_file()
            say("natural {:.4f}, certified {:.4f}".format(*accuracies) + (", ended early" if pruned else ""))
            study.end(number, Outcome(accuracies, pruned))
