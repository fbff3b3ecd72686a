"""Results of a table: statistics over seeds beside the published numbers, as files and on the screen."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from statistics import mean
from typing import Any, ClassVar

from rich.console import Console
from rich.table import Table

from gls_lightning.commands.table.options import named, short, values
from gls_lightning.commands.table.rows import Row
from gls_lightning.commands.table.training import Training
from gls_lightning.commands.table.tuning import TunedRow, held_out_accuracies
from gls_lightning.configuration import compose
from gls_lightning.reports import flatten, seed_statistics, selection
from gls_lightning.run_files import ACCURACIES, CONFIG, ResultFile, write_whole

DASH = "—"


@dataclass(frozen=True)
class Accuracy:
    """An accuracy over the seeds, in percent.

    Attributes:
        mean: The mean; None as long as no seed is certified.
        interval: Its 95 % confidence interval, Student's t; None for fewer than two seeds.
        paper: The published value; None if there is none.
    """

    mean: float | None
    interval: Sequence[float] | None
    paper: float | None

    @property
    def difference(self) -> float | None:
        """The distance of the mean from the published value."""
        return None if self.mean is None or self.paper is None else self.mean - self.paper


@dataclass(frozen=True)
class Tried:
    """Settings of a row that were tried.

    Attributes:
        values: The values by the last parts of their keys.
        seeds: The certified accuracies on held-out images, in percent.
        chosen: Whether they are the best.
    """

    values: Mapping[str, str]
    seeds: Sequence[float]
    chosen: bool

    @property
    def words(self) -> str:
        """The values in words."""
        return ", ".join(f"{key} {value}" for key, value in self.values.items())


@dataclass(frozen=True)
class RowResult:
    """A row of the table.

    Attributes:
        row: Its name.
        config: Its configuration.
        tables: The paper's tables that print it.
        seeds: The accuracies of each seed that is certified, in percent.
        images: How many test images each of them was certified on.
        selected: By which images settings and weights were chosen.
        weights: Which checkpoints were certified.
        accuracies: The accuracies by their names.
        tried: The settings among which one was chosen; empty if none was.
    """

    row: str
    config: str
    tables: Sequence[int]
    seeds: Mapping[int, Mapping[str, float]]
    images: Sequence[int]
    selected: Sequence[str]
    weights: Sequence[str]
    accuracies: Mapping[str, Accuracy]
    tried: Sequence[Tried] = ()


@dataclass(frozen=True)
class TableResult(ResultFile):
    """Content of ``table.json``.

    Attributes:
        title: What was asked for.
        seeds: How many seeds there are to be.
        overrides: The options that replace values of the rows: for each the value, and those of the rows.
        certify: Further options of ``gls certify``.
        software: The versions that made the file.
        rows: The rows.
    """

    FILE: ClassVar[str] = "table.json"

    title: str
    seeds: int
    overrides: Mapping[str, Sequence[str]]
    certify: Sequence[str]
    software: str
    rows: Sequence[RowResult]

    def write_all(self, table: Path) -> None:
        """Writes ``table.json``, ``table.csv`` and ``table.md``."""
        self.write(table)
        for name, text in {"table.csv": self.csv, "table.md": self.markdown}.items():
            write_whole(table / name, lambda draft, text=text: draft.write_text(text, encoding="utf-8"))  # type: ignore[misc]

    @property
    def csv(self) -> str:
        """The table as values separated by commas."""
        text = StringIO(newline="")
        columns = [f"{name}_{part}" for name in ACCURACIES for part in ("mean", "low", "high", "paper")]
        writer = csv.writer(text)
        writer.writerow(["row", "seeds", "images", "selected", "weights", "tuned", *columns])
        for of in self.rows:
            numbers = [n for name in ACCURACIES for n in _numbers(of.accuracies[name])]
            facts = [of.row, len(of.seeds), *_facts(of), _tuned(of)]
            writer.writerow([*facts, *("" if n is None else f"{n:.4f}" for n in numbers)])
        return text.getvalue()

    @property
    def markdown(self) -> str:
        """The table as Markdown, with what differs from the rows."""
        header, *rows = self._cells("<br>")
        lines = [f"# {self.title}", "", *(f"{line}\n" for line in self.notes), f"| {' | '.join(header)} |"]
        lines += ["|---" * len(header) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
        return "\n".join([*lines, "", *self._tried, f"Made by {self.software}.", ""])

    @property
    def _tried(self) -> list[str]:
        tried = [(of.row, settings) for of in self.rows for settings in of.tried]
        if not tried:
            return []
        lines = ["## Tuned on held-out images", "", "Certified accuracy in percent; the best mean is chosen.", ""]
        lines += ["| row | settings | mean | seeds | |", "|---|---|---|---|---|"]
        for row, of in tried:
            average = f"{mean(of.seeds):.2f}" if of.seeds else DASH
            seeds = ", ".join(f"{accuracy:.2f}" for accuracy in of.seeds)
            lines.append(f"| {row} | {of.words} | {average} | {seeds} | {'chosen' if of.chosen else ''} |")
        return [*lines, ""]

    @property
    def notes(self) -> list[str]:
        """The lines that a reader of the numbers must know."""
        lines = ["Accuracies in percent: the mean over the seeds and its 95 % confidence interval (Student's t)."]
        if self.overrides:
            changed = [f"{key} {', '.join(of)}" for key, of in self.overrides.items()]
            lines.append(f"Differs from the configurations: {'; '.join(changed)}.")
        elif any(of.tables for of in self.rows):
            lines.append("Trained with the settings of the configurations.")
        if self.certify:
            lines.append(f"Certified with {' '.join(self.certify)}.")
        return lines

    def show(self) -> None:
        """Prints the table."""
        header, *rows = self._cells("\n")
        table = Table(*header, title=self.title)
        for row in rows:
            table.add_row(*row, end_section=True)
        console = Console(soft_wrap=True)
        console.print(table)
        for note in self.notes:
            console.print(note, markup=False)

    def _cells(self, line_break: str) -> list[list[str]]:
        rows = [["row", "measured on", *ACCURACIES]]
        for of in self.rows:
            images, selected, weights = _facts(of)
            facts = [f"{len(of.seeds)} of {self.seeds} seeds"]
            facts += (
                [f"{images} images", f"{weights} checkpoint", *filter(None, [_tuned(of), selected])] if of.seeds else []
            )
            rows.append([of.row, line_break.join(facts), *(_cell(of.accuracies[n], line_break) for n in ACCURACIES)])
        return rows


def gather(title: str, tuned: Sequence[TunedRow], overrides: Sequence[str], software: str) -> TableResult:
    """Reads what there is of a table.

    Args:
        title: What was asked for.
        tuned: The rows, with their trainings.
        overrides: Options that replace values of the rows.
        software: The versions of the software.
    """
    trainings = tuned[0].trainings
    return TableResult(
        title=title,
        seeds=len({training.seed for training in trainings}),
        overrides=_differences([of.row for of in tuned], overrides),
        certify=trainings[0].certify,
        software=software,
        rows=[_row(of) for of in tuned],
    )


def _row(tuned: TunedRow) -> RowResult:
    row, chosen = tuned.row, tuned.chosen
    found = {of.seed: (of, summary) for of in chosen if (summary := of.summary) is not None}
    seeds = {seed: {n: 100 * a for n, a in summary.accuracies.items()} for seed, (_, summary) in found.items()}
    checkpoints = [checkpoint for of, _ in found.values() if (checkpoint := of.checkpoint) is not None]
    runs = [run for of, _ in found.values() if (run := of.run) is not None]
    return RowResult(
        row=row.name,
        config=str(row.config),
        tables=row.paper.get("tables", ()),
        seeds=seeds,
        images=sorted({summary.total.samples for _, summary in found.values()}),
        selected=sorted({selection(flatten(compose(run / CONFIG).content)) for run in runs} - {""}),
        weights=sorted({checkpoint.name.partition("-")[0].partition(".")[0] for checkpoint in checkpoints}),
        accuracies={n: _accuracy([of[n] for of in seeds.values()], row.paper.get(n)) for n in ACCURACIES},
        tried=[_settings(of, of == chosen) for of in tuned.candidates] if len(tuned.candidates) > 1 else [],
    )


def _settings(candidate: Sequence[Training], chosen: bool) -> Tried:
    return Tried(named(candidate[0].tuned), [100 * a for a in held_out_accuracies(candidate)], chosen)


def _accuracy(percents: Sequence[float], paper: float | None) -> Accuracy:
    if not percents:
        return Accuracy(None, None, paper)
    statistics = seed_statistics(percents)
    return Accuracy(statistics.mean, statistics.interval, paper)


def _differences(rows: Sequence[Row], overrides: Sequence[str]) -> dict[str, list[str]]:
    """Returns for each key that differs the new value, and those that rows have, in words."""
    contents = [{short(key): value for key, value in flatten(row.content).items()} for row in rows]
    found = {}
    for key, value in values(overrides).items():
        before = list(dict.fromkeys(str(content.get(key, "the default")) for content in contents))
        if before != [str(value)]:
            found[key] = [f"{value} in place of {' or '.join(before)}"]
    return found


def _tuned(of: RowResult) -> str:
    return next((tried.words for tried in of.tried if tried.chosen), "")


def _facts(of: RowResult) -> list[str]:
    return [" or ".join(map(str, facts)) for facts in (of.images, of.selected, of.weights)]


def _numbers(accuracy: Accuracy) -> list[Any]:
    return [accuracy.mean, *(accuracy.interval or (None, None)), accuracy.paper]


def _cell(accuracy: Accuracy, line_break: str) -> str:
    lines = [DASH if accuracy.mean is None else f"{accuracy.mean:.2f}"]
    if accuracy.interval is not None:
        lines.append(f"{accuracy.interval[0]:.2f} to {accuracy.interval[1]:.2f}")
    if accuracy.paper is not None:
        distance = "" if accuracy.difference is None else f" ({accuracy.difference:+.2f})"
        lines.append(f"paper: {accuracy.paper:.2f}{distance}")
    return line_break.join(lines)
