"""Jobs of a table: what is left to do, and a check of its options before it starts."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from gls_lightning.commands.table.rows import Row
from gls_lightning.commands.table.training import Training, Weights
from gls_lightning.errors import ConfigurationError
from gls_lightning.executors import Job, gls_command


def plan(
    rows: Sequence[Row],
    seeds: int,
    table: Path,
    overrides: Sequence[str],
    certify: Sequence[str],
    weights: Weights | None,
) -> list[Training]:
    """Returns the training of each row with each seed, all rows with the first seed before those with the second."""

    def training(row: Row, seed: int) -> Training:
        start = None if row.start is None else training(row.start, seed)
        return Training(row.name, row.config, seed, table, overrides, certify, weights, start)

    return [training(row, seed) for seed in range(seeds) for row in rows]


def open_jobs(trainings: Sequence[Training], shares: int) -> list[Job]:
    """Returns the jobs for all that is not done: each training once, then its certification by so many processes."""
    jobs: dict[str, Job] = {}
    for training in trainings:
        for stage in (training.start, training):
            if stage is not None and stage.run is None:
                after = [] if stage.start is None else [stage.start.label]
                jobs.setdefault(stage.label, Job(stage.label, stage.train, after=after))
        if training.summary is None:
            for share in range(1, shares + 1):
                name = f"{training.label}_certify" + (f"_{share}" if shares > 1 else "")
                jobs[name] = Job(name, training.certify_weights, after=[training.label])
    return list(jobs.values())


def check_options(training: Training) -> None:
    """Lets ``gls`` read the options of a training and of its certification, which costs seconds and not hours.

    Raises:
        ConfigurationError: It refuses them.
    """
    lines = [training.words("fit"), [*training.words("certify"), *training.certify]]
    started = [
        subprocess.Popen(
            gls_command([*words, "--print_config"]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words in lines
    ]
    for process, words in zip(started, lines, strict=True):
        _, errors = process.communicate()
        if process.returncode:
            said = errors.strip().splitlines()[-1].removeprefix("gls: ") if errors.strip() else "it says nothing"
            raise ConfigurationError(f"gls {words[0]} refuses the options of {training.name}: {said}")
