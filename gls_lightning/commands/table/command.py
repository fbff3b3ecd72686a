"""``gls table``: rows trained and certified over seeds, beside the published numbers."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gls_lightning.arguments import require
from gls_lightning.command_line.parser import CommandParser
from gls_lightning.commands import description
from gls_lightning.commands.table.jobs import check_options, open_jobs, plan
from gls_lightning.commands.table.options import divide
from gls_lightning.commands.table.results import PAGE, gather, show, write_numbers, write_page
from gls_lightning.commands.table.rows import find_rows, rows_in_words
from gls_lightning.commands.table.settings import TableSettings
from gls_lightning.commands.table.training import Weights
from gls_lightning.errors import ConfigurationError
from gls_lightning.executors import Execution, Job, run_jobs
from gls_lightning.run_files import provenance

TABLES = Path("tables")
"""Where tables lie by default, below the working directory."""


def table(words: list[str]) -> None:
    """Trains and certifies a table of the paper, or any configurations, over seeds; goes on where it was ended.

    Args:
        words: The words behind the command.

    Raises:
        ConfigurationError: A row, an option or the directory is wrong.
        SystemExit: With code 1, after all else is done: a training or a certification failed.
    """
    divided = divide(words)
    options = _parser().parse_args(divided.own)
    require(options.seeds >= 1, "seeds", options.seeds, "at least 1")
    require(options.shares >= 1, "shares", options.shares, "at least 1")
    execution = Execution.of(options)
    rows = find_rows(options.names, options.rows)
    directory = options.output or _default_directory(options.names)
    settings = TableSettings.of(rows, divided.overrides, divided.certify, options.weights)
    settings.check(directory)
    if options.baseline not in (None, *(row.name for row in rows)):
        raise ConfigurationError(f"baseline is {options.baseline}, which is no row; the rows are {rows_in_words(rows)}")
    tuned = plan(rows, options.seeds, directory, divided.overrides, divided.certify, options.weights, divided.tuned)
    jobs = open_jobs(tuned, options.shares)
    if jobs:
        check_options(tuned)
    settings.keep(directory)

    gathered = partial(gather, " ".join(options.names), tuned, divided.overrides, provenance(), options.baseline)

    ended = _progress(len(jobs), lambda: write_numbers(gathered(), directory))
    try:
        failures = run_jobs(jobs, directory / "logs", execution, ended) if jobs else {}
    finally:  # an interruption
        result = gathered()
        write_numbers(result, directory)
        write_page(result, directory)
    show(result)
    print(f"written to {directory / PAGE}; gls report {directory} shows its runs, too", flush=True)
    if failures:
        sys.exit(f"gls: {len(failures)} of {len(jobs)} jobs failed: {', '.join(failures)}; the same command goes on")


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="gls table",
        description=description("table"),
        epilog="Dotted options, such as --trainer.max_epochs=1, and all options behind -- go to each training and "
        "certification; --certify.samples=500 and so on to each certification alone, without certify. With "
        "--tune.model.optimizer.lr=[5e-4,5e-3] every row takes the value that is best for it on held-out images.",
    )
    parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="A table of the paper, such as table1; a configuration; or a folder of them, such as comparison.",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        default=[],
        help="Only rows whose names fit one of these patterns, such as '*mnist_0.1_dp*'.",
    )
    parser.add_argument(
        "--baseline", type=str | None, default=None, help="The row over which the gains of the others are shown."
    )
    parser.add_argument("--seeds", type=int, default=3, help="How many seeds, from 0 on.")
    parser.add_argument(
        "--weights",
        type=Weights | None,
        default=None,
        help="The checkpoint that is certified: best or last. By default the best where held-out training images chose "
        "it, otherwise the last.",
    )
    parser.add_argument(
        "--shares", type=int, default=1, help="How many processes share the certification of a network."
    )
    parser.add_argument(
        "--output",
        type=Path | None,
        default=None,
        help="Directory of the table, tables/NAME by default; a table that is there goes on.",
    )
    parser.add_class_arguments(Execution)
    return parser


def _default_directory(names: list[str]) -> Path:
    if len(names) > 1:
        raise ConfigurationError(f"output is missing; {len(names)} names need one, such as --output={TABLES / 'mine'}")
    return TABLES / Path(names[0]).stem


def _progress(number: int, write: Callable[[], Any]) -> Callable[[Job, str | None], None]:
    """Returns what is done when a job has ended: a line, and the results so far."""
    ended = 0

    def report(job: Job, failure: str | None) -> None:
        nonlocal ended
        ended += 1
        write()
        print(f"[{ended}/{number}] {job.name}: {'done' if failure is None else failure}", flush=True)

    return report
