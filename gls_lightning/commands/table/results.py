"""Results of a table: what its trainings reached, as files and on the screen."""

import csv
import os
from collections.abc import Sequence
from functools import partial
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from gls_lightning.commands.table.options import named, short, values
from gls_lightning.commands.table.rows import Row
from gls_lightning.commands.table.training import Training
from gls_lightning.commands.table.tuning import TunedRow, held_out_accuracies
from gls_lightning.reports import (
    flatten,
    row_table,
    seed_statistics,
    selection,
    table_notes,
    table_section,
    write_report,
)
from gls_lightning.run_files import ACCURACIES, ResultTable, TableRow, TriedSettings, write_whole

PAGE = "table.html"
_WIDE = 1000


def gather(
    title: str, tuned: Sequence[TunedRow], overrides: Sequence[str], software: str, baseline: str | None
) -> ResultTable:
    """Reads what there is of a table.

    Args:
        title: What was asked for.
        tuned: The rows, with their trainings.
        overrides: Options that replace values of the rows.
        software: The versions of the software.
        baseline: The row that the others are compared with.
    """
    candidate = tuned[0].candidates[0]
    return ResultTable(
        title=title,
        seeds=len(candidate),
        overrides=_differences([of.row for of in tuned], overrides),
        certify=candidate[0].certify,
        software=software,
        rows=[_row(of) for of in tuned],
        baseline=baseline,
    )


def write_numbers(table: ResultTable, directory: Path) -> None:
    """Writes ``table.json`` and ``table.csv``."""
    table.write(directory)
    write_whole(directory / "table.csv", partial(Path.write_text, data=_csv(table), encoding="utf-8", newline=""))


def write_page(table: ResultTable, directory: Path) -> None:
    """Writes ``table.html`` and ``table.md``, with pictures."""
    write_report(table_section(table), directory / PAGE)


def show(table: ResultTable) -> None:
    """Prints the table."""
    rows = row_table(table)
    printed = Table(Column(rows.header[0], overflow="fold"), *rows.header[1:], title=table.title)
    for row in rows.rows:
        printed.add_row(*row, end_section=True)
    console = Console(soft_wrap=True, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:  # a file or a pipe breaks no lines
        console.width = console.measure(printed, options=console.options.update(max_width=_WIDE)).maximum
    console.print(printed)
    for note in table_notes(table):
        console.print(note)


def _csv(table: ResultTable) -> str:
    text = StringIO(newline="")
    columns = [f"{name}_{part}" for name in ACCURACIES for part in ("mean", "low", "high", "paper")]
    writer = csv.writer(text)
    gain = [] if table.baseline is None else ["gain_mean", "gain_low", "gain_high"]
    writer.writerow(["row", "seeds", "images", "selected", "weights", "tuned", *columns, *gain])
    for row in table.rows:
        facts = [" or ".join(map(str, facts)) for facts in (row.images, row.selected, row.weights)]
        numbers = [n for name in ACCURACIES for n in (*_statistics(row.percents(name)), row.published.get(name))]
        numbers += _statistics(table.gains(row)) if gain else []
        written = ["" if number is None else f"{number:.4f}" for number in numbers]
        writer.writerow([row.row, len(row.seeds), *facts, row.tuned, *written])
    return text.getvalue()


def _statistics(values: Sequence[float]) -> list[float | None]:
    """Returns mean and ends of the interval."""
    if not values:
        return [None] * 3
    statistics = seed_statistics(values)
    return [statistics.mean, *(statistics.interval or (None, None))]


def _row(tuned: TunedRow) -> TableRow:
    row, chosen = tuned.row, tuned.chosen
    found = {of.seed: (of, summary) for of in chosen if (summary := of.summary) is not None}
    checkpoints = [checkpoint for of, _ in found.values() if (checkpoint := of.checkpoint) is not None]
    return TableRow(
        row=row.name,
        config=str(row.config),
        tables=row.paper.get("tables", ()),
        published={name: row.paper[name] for name in ACCURACIES if name in row.paper},
        seeds={str(seed): {n: 100 * a for n, a in of.accuracies.items()} for seed, (_, of) in found.items()},
        images=sorted({summary.total.samples for _, summary in found.values()}),
        selected=sorted({selection(of.settings) for of, _ in found.values()} - {""}),
        weights=sorted({checkpoint.name.partition("-")[0].partition(".")[0] for checkpoint in checkpoints}),
        tried=[_tried(of, of == chosen) for of in tuned.candidates] if len(tuned.candidates) > 1 else [],
    )


def _tried(candidate: Sequence[Training], chosen: bool) -> TriedSettings:
    return TriedSettings(named(candidate[0].tuned), [100 * a for a in held_out_accuracies(candidate)], chosen)


def _differences(rows: Sequence[Row], overrides: Sequence[str]) -> dict[str, list[str]]:
    """Returns for each key that differs the new value, and those that rows and their first stages have, in words."""
    trained = [stage.content for row in rows for stage in row.stages]
    contents = [{short(key): value for key, value in flatten(content).items()} for content in trained]
    found = {}
    for key, value in values(overrides).items():
        before = list(dict.fromkeys(str(content.get(key, "the default")) for content in contents))
        if before != [str(value)]:
            found[key] = [f"{value} in place of {' or '.join(before)}"]
    return found
