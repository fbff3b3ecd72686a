"""Jobs of a table: what is left to do, and a check of its options before it starts."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from gls_lightning.commands.comparability import check_held_out
from gls_lightning.commands.table.rows import Row
from gls_lightning.commands.table.training import Training, Weights
from gls_lightning.commands.table.tuning import TunedRow, choices
from gls_lightning.errors import ConfigurationError
from gls_lightning.executors import Job, resolve


def plan(
    rows: Sequence[Row],
    seeds: int,
    table: Path,
    overrides: Sequence[str],
    certify: Sequence[str],
    weights: Weights | None,
    tuned: Mapping[str, Sequence[str]],
) -> list[TunedRow]:
    """Returns the trainings of each row, with each choice of the tuned values and each seed."""

    def training(row: Row, seed: int, choice: Sequence[str]) -> Training:
        start = None if row.start is None else training(row.start, seed, ())
        return Training(row.name, row.config, seed, table, overrides, certify, weights, choice, start)

    def candidate(row: Row, choice: Sequence[str]) -> list[Training]:
        return [training(row, seed, choice) for seed in range(seeds)]

    return [TunedRow(row, [candidate(row, choice) for choice in choices(tuned)]) for row in rows]


def open_jobs(rows: Sequence[TunedRow], shares: int) -> list[Job]:
    """Returns the jobs for all that is not done, those of the first seed first.

    Args:
        rows: The rows; each training is done once, and the chosen ones are certified.
        shares: How many processes share a certification.
    """
    jobs: dict[str, Job] = {}
    seeds = range(len(rows[0].candidates[0]))
    with_choice = [(row, row.chosen) for row in rows]  # which reads the metrics of all trainings of the row
    for seed, (row, chosen) in product(seeds, with_choice):
        for candidate in row.candidates:
            for stage in (candidate[seed].start, candidate[seed]):
                if stage is not None and stage.run is None:
                    after = [] if stage.start is None else [stage.start.label]
                    jobs.setdefault(stage.label, Job(stage.label, stage.train, after=after))
        if not chosen or chosen[seed].summary is None:
            needed = row.trainings if len(row.candidates) > 1 else [row.candidates[0][seed]]
            for share in range(1, shares + 1):
                name = f"{row.row.name}_seed_{seed}_certify" + (f"_{share}" if shares > 1 else "")
                jobs[name] = Job(name, row.certify, [seed], after=[training.label for training in needed])
    return list(jobs.values())


def check_options(rows: Sequence[TunedRow]) -> None:
    """Lets ``gls`` read options before anything starts: those of the first row with each choice of tuned values.

    Those of its first stage too, and where values are tuned, of one row for each data section, to see that it holds
    images out.

    Raises:
        ConfigurationError: It refuses them, two trainings would have one folder, or the test images would choose.
    """
    _check_labels(rows)
    first = [candidate[0] for candidate in rows[0].candidates]
    if len(first) > 1:
        by_data = {str(of.row.content.get("data")): of.candidates[0][0] for of in reversed(rows)}
        first += [training for training in by_data.values() if training is not first[0]]
    certification = [*first[0].words("certify"), *first[0].certify]
    resolved = resolve([*(training.words("fit") for training in first), certification], first[0].name)
    if (start := first[0].start) is not None:
        resolve([start.words("fit")], start.name)
    if len(first) > 1:
        for configuration in resolved[:-1]:
            check_held_out(configuration)


def _check_labels(rows: Sequence[TunedRow]) -> None:
    found: dict[str, tuple[Path, Sequence[str]]] = {}
    for training in (training for row in rows for training in row.trainings):
        for stage in (training, training.start):
            if stage is None:
                continue
            config, tuned = found.setdefault(stage.label, (stage.config, stage.tuned))
            if (config, tuned) != (stage.config, stage.tuned):
                either = " and of ".join(
                    " ".join([str(of), *options]) for of, options in ((config, tuned), (stage.config, stage.tuned))
                )
                raise ConfigurationError(f"{stage.label} would be the folder of two trainings: of {either}")
