"""The trials of a search, several side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gls_lightning.commands.front.search_space import SearchSpace, options_of_fit
from gls_lightning.commands.front.search_study import Outcome, SearchStudy
from gls_lightning.executors import Execution, Job, RunningJobs, run_gls
from gls_lightning.reports import read_metrics
from gls_lightning.run_files import PRUNED

LOGS, TRIALS = "logs", "trials"


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
        patience: The share of the epochs behind the ramp that a run gets in any case.
    """

    directory: Path
    fit: Sequence[str]
    space: SearchSpace
    margin: float | None
    patience: float

    def run(self, study: SearchStudy, trials: int, execution: Execution) -> None:
        """Runs trials until as many have begun, by all processes together, and those of this process have ended."""
        numbers: dict[str, int] = {}
        try:
            with RunningJobs(self.directory / LOGS, execution) as jobs:
                while True:
                    if jobs.has_room and (begun := study.begin(self.space, trials)) is not None:
                        job = self._job(study, *begun)
                        numbers[job.name] = begun[0]
                        jobs.start(job)
                    if not numbers:
                        return
                    for number in numbers.values():
                        study.heartbeat(number).beat()
                    for job, failure in jobs.collect():
                        self._end(study, numbers[job.name], failure)
                        del numbers[job.name]
        finally:  # an interruption
            for number in numbers.values():
                study.abandon(number)

    def _job(self, study: SearchStudy, number: int, values: Mapping[str, Any]) -> Job:
        name, options = f"trial_{number}", options_of_fit(values)
        print(f"trial {number}: {' '.join(options)}", flush=True)
        return Job(name, run_gls, [[*self.fit, *options, *self._pruning(study), *placed(self.directory, TRIALS, name)]])

    def _pruning(self, study: SearchStudy) -> list[str]:
        if self.margin is None:
            return []
        callback = "--trainer.callbacks"
        options = {
            "front": [list(trial.values) for trial in study.front()],
            "margin": self.margin,
            "patience": self.patience,
        }
        return [
            f"{callback}+=gls_lightning.callbacks.EndOfDominatedRun",
            *(f"{callback}.{key}={value}" for key, value in options.items()),
        ]

    def _end(self, study: SearchStudy, number: int, failure: str | None) -> None:
        run = self.directory / TRIALS / f"trial_{number}"
        say = partial(print, f"trial {number}", flush=True)
        if failure is not None:
            say(f"failed: {failure}")
            study.end(number, Outcome(None))
        elif (accuracies := held_out_accuracies(run)) is None:
            say(f"failed: {run} has no finite natural and certified accuracy in its last validation")
            study.end(number, Outcome(None))
        else:
            pruned = (run / PRUNED).is_file()
            say("natural {:.4f}, certified {:.4f}".format(*accuracies) + (", ended early" if pruned else ""))
            study.end(number, Outcome(accuracies, pruned))
