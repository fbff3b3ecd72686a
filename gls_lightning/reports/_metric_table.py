"""The metrics of a run, as Lightning's CSVLogger writes them."""

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from gls_lightning.run_files import ACCURACIES, METRICS, metrics_files

Curve = Mapping[int, float]
"""A value for each epoch, counted from 0; NaN where it was not finite."""


@dataclass(frozen=True)
class MetricTable:
    """Metrics that a run logged.

    Attributes:
        values: For each metric and epoch the values in their order.
        epochs: How many epochs have begun.
        notes: What is wrong with the file.
    """

    values: Mapping[str, Mapping[int, Sequence[float]]]
    epochs: int = 0
    notes: Sequence[str] = ()

    def curve(self, name: str) -> Curve:
        """Returns an epoch's mean for what is measured on training batches, an epoch's last value for all else."""
        reduced = {
            epoch: sum(values) / len(values) if name.startswith("train/") else values[-1]
            for epoch, values in self.values.get(name, {}).items()
        }
        return {epoch: value if math.isfinite(value) else math.nan for epoch, value in reduced.items()}

    def not_finite(self) -> dict[str, list[int]]:
        """Returns the epochs in which a metric was not finite, by the metric."""
        epochs = {name: [e for e, v in self.curve(name).items() if math.isnan(v)] for name in self.values}
        return {name: found for name, found in epochs.items() if found}

    def last_validation(self) -> tuple[int | None, dict[str, float]]:
        """Returns the epoch of the last validation, and its accuracies that are finite."""
        curves = {name: self.curve(f"val/{name}_accuracy") for name in ACCURACIES}
        epoch = max((max(curve) for curve in curves.values() if curve), default=None)
        if epoch is None:
            return None, {}
        last = {name: curve.get(epoch, math.nan) for name, curve in curves.items()}
        return epoch, {name: value for name, value in last.items() if math.isfinite(value)}


def read_metrics(run: Path) -> MetricTable:
    """Reads the files of a run with those of its earlier parts; they may be absent, damaged or still being written."""
    parts = [_read_part(path) for path in metrics_files(run)]
    if not parts:
        return MetricTable({}, notes=[f"there is no {METRICS}; the run has another logger, or has just begun"])
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    rows = [row for rows, _ in parts for row in rows]
    for epoch, name, value in _cells(rows):
        values[name][epoch].append(value)
    notes = [note for _, notes in parts for note in notes]
    return MetricTable(values, max((int(row["epoch"]) + 1 for row in rows), default=0), notes)


def _read_part(path: Path) -> tuple[list[dict[str, float]], list[str]]:
    """Returns the rows of a file, and what is wrong with it."""
    whole, _, torn = path.read_text(errors="replace").rpartition("\n")
    notes = [f"the last line of {path.name} is incomplete and left out"] if torn else []
    header, *lines = list(csv.reader(StringIO(whole, newline=""))) or [[]]
    if "epoch" not in header:
        return [], [*notes, f"{path.name} has no column epoch, so nothing of it is shown"]
    rows = [row for line in lines if (row := _numbers(header, line)) is not None]
    if left_out := len(lines) - len(rows):
        notes.append(f"{left_out} of {len(lines)} lines of {path.name} cannot be read and are left out")
    return rows, notes


def _numbers(header: Sequence[str], line: Sequence[str]) -> dict[str, float] | None:
    """Returns the numbers of a line by their columns; None if it is damaged or has no epoch."""
    try:
        row = {name: float(cell) for name, cell in zip(header, line, strict=True) if cell}
    except ValueError:
        return None
    return row if math.isfinite(row.get("epoch", math.nan)) else None


def _cells(rows: Sequence[Mapping[str, float]]) -> Iterator[tuple[int, str, float]]:
    for row in rows:
        for name, value in row.items():
            if name not in ("epoch", "step"):
                yield int(row["epoch"]), name, value
