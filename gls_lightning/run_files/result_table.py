"""File of ``gls table``: ``table.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from gls_lightning.run_files.result_file import ResultFile


@dataclass(frozen=True)
class TriedSettings:
    """Settings of a row that were tried.

    Attributes:
        values: The values, as they were written, by their keys.
        seeds: The certified accuracies on held-out images, in percent.
        chosen: Whether they are the best.
    """

    values: Mapping[str, str]
    seeds: Sequence[float]
    chosen: bool

    @property
    def words(self) -> str:
        """The values in words, with the last parts of their keys where these tell them apart."""
        last = [key.rpartition(".")[2] for key in self.values]
        keys = last if len({*last}) == len(last) else list(self.values)
        return ", ".join(f"{key} {value}" for key, value in zip(keys, self.values.values(), strict=True))


@dataclass(frozen=True)
class TableRow:
    """A row of the table.

    Attributes:
        row: Its name.
        config: Its configuration.
        tables: The paper's tables that print it.
        published: The paper's accuracies by their names, in percent, as far as it has them.
        seeds: The accuracies of each seed that is certified, by their names, in percent.
        images: How many test images each of them was certified on.
        selected: By which images settings and weights were chosen.
        weights: Which checkpoints were certified.
        tried: The settings among which one was chosen; empty if none was.
    """

    row: str
    config: str
    tables: Sequence[int]
    published: Mapping[str, float]
    seeds: Mapping[str, Mapping[str, float]]
    images: Sequence[int]
    selected: Sequence[str]
    weights: Sequence[str]
    tried: Sequence[TriedSettings] = ()

    @property
    def tuned(self) -> str:
        """The chosen settings in words; empty if none were."""
        return next((tried.words for tried in self.tried if tried.chosen), "")

    def percents(self, name: str) -> list[float]:
        """Returns an accuracy of each seed."""
        return [accuracies[name] for accuracies in self.seeds.values()]


@dataclass(frozen=True)
class ResultTable(ResultFile):
    """Content of ``table.json``.

    Attributes:
        title: What was asked for.
        seeds: How many seeds there are to be.
        overrides: The options that replace values of the rows: for each the value, and those of the rows.
        certify: Further options of ``gls certify``.
        software: The versions that made the file.
        rows: The rows.
        baseline: The row that the others are compared with; None without one.
    """

    FILE: ClassVar[str] = "table.json"

    title: str
    seeds: int
    overrides: Mapping[str, Sequence[str]]
    certify: Sequence[str]
    software: str
    rows: Sequence[TableRow]
    baseline: str | None = None

    def gains(self, row: TableRow) -> list[float]:
        """Returns by how many points a row certifies more than the baseline, for each seed that both have."""
        baseline = next((of for of in self.rows if of.row == self.baseline), None)
        if baseline is None or row is baseline:
            return []
        both = [seed for seed in row.seeds if seed in baseline.seeds]
        return [row.seeds[seed]["certified"] - baseline.seeds[seed]["certified"] for seed in both]
