"""Sections about what ``gls test``, ``gls validate`` and ``gls tightness`` found out about a run."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gls_lightning.reports._document import DASH, INITIAL, Picture, ReportTable, Section
from gls_lightning.run_files import ACCURACIES, DAMAGE, EvaluatedMetrics, TightnessCurves, evaluation_files

COMMANDS = {"test": "test", "validate": "val"}
"""Commands that measure, and how the names of their metrics begin."""
_COLUMNS = 6
"""A table shows at most so many radii."""
T = TypeVar("T")


def metrics_section(run: Path) -> Section | None:
    """Returns the accuracies of ``gls test`` and ``gls validate``; None if there are none."""
    rows, notes = [], list[str]()
    for command in COMMANDS:
        for path in evaluation_files(run, command, EvaluatedMetrics.FILE):
            measured = _read(EvaluatedMetrics.read, path, run, notes)
            rows += [_row(measured, command)] if measured else []
    header = ["checkpoint", "command", "data", "images", "epsilon", *ACCURACIES]
    table = ReportTable("accuracies in percent", header, rows)
    return Section("Test and validation", notes, tables=[table] if rows else []) if rows or notes else None


def _row(measured: EvaluatedMetrics, command: str) -> list[str]:
    values = [measured.metrics.get(f"{COMMANDS[command]}/{name}_accuracy") for name in ACCURACIES]
    samples = DASH if measured.samples is None else str(measured.samples)
    about = [measured.checkpoint or INITIAL, f"gls {command}", measured.data, samples, f"{measured.epsilon:.6g}"]
    return [*about, *(DASH if value is None else f"{100 * value:.2f}" for value in values)]


def tightness_sections(run: Path, name: str) -> list[Section]:
    """Returns a section for each checkpoint whose tightness was measured.

    Args:
        run: The directory of the run.
        name: Begins the names of the pictures.
    """
    directory, file = TightnessCurves.DIRECTORY, TightnessCurves.FILE
    paths = [*run.glob(file), *evaluation_files(run, directory, file)]  # the first is where earlier versions left it
    return [_tightness(path, run, f"{name}-tightness-{number}") for number, path in enumerate(paths)]


def _tightness(path: Path, run: Path, name: str) -> Section:
    notes: list[str] = []
    curves = _read(TightnessCurves.read, path, run, notes)
    picture = path.with_name(TightnessCurves.PICTURE)
    caption = "certified accuracy over the radius, for each relaxation"
    pictures = [Picture(name, caption, caption, picture.read_bytes())] if picture.is_file() else []
    if curves is None:
        return Section("Tightness", notes, pictures=pictures)
    about = f"{curves.samples} test images of {curves.data}. Weights: {curves.checkpoint or INITIAL}"
    return Section("Tightness", notes, [about], [_tightness_table(curves)], pictures)


def _tightness_table(curves: TightnessCurves) -> ReportTable:
    shown = sorted({round((len(curves.radii) - 1) * column / (_COLUMNS - 1)) for column in range(_COLUMNS)})
    rows = [
        [name, f"{of.auc:.4f}", *(f"{100 * of.certified_accuracy[index]:.2f}" for index in shown)]
        for name, of in curves.relaxations.items()
    ]
    header = ["relaxation", "area under the curve", *(f"epsilon {curves.radii[index]:.4g}" for index in shown)]
    return ReportTable("certified accuracy in percent", header, rows)


def _read(read: Callable[[Path], T], path: Path, run: Path, notes: list[str]) -> T | None:
    """Reads a file; returns None, with a note, if it is damaged."""
    try:
        return read(path)
    except DAMAGE as error:
        notes.append(f"{path.relative_to(run)} is damaged: {type(error).__name__}, {error}")
        return None
