"""Sections about what ``gls test``, ``gls validate`` and ``gls tightness`` found out about a run."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gls_lightning.reports.document import DASH, Picture, Section, Table
from gls_lightning.reports.metric_table import ACCURACIES
from gls_lightning.run_files import EVALUATED, evaluation_files

COMMANDS = {"test": "test", "validate": "val"}
"""Commands that measure, and how the names of their metrics begin."""
_COLUMNS = 6
"""A table shows at most so many radii."""
T = TypeVar("T")


def metrics_section(run: Path) -> Section | None:
    """The accuracies of ``gls test`` and ``gls validate``; None if there are none."""
    rows, notes = [], list[str]()
    for command, prefix in COMMANDS.items():
        for path in evaluation_files(run, command, EVALUATED):
            row = _read(path, run, partial(_row, command=command, prefix=prefix), notes)
            rows += [row] if row else []
    header = ["checkpoint", "command", "data", "images", "epsilon", *ACCURACIES]
    table = Table("accuracies in percent", header, rows)
    return Section("Test and validation", notes, tables=[table] if rows else []) if rows or notes else None


def _row(content: Mapping[str, Any], *, command: str, prefix: str) -> list[str]:
    metrics = content["metrics"]
    values = [metrics.get(f"{prefix}/{name}_accuracy") for name in ACCURACIES]
    samples = DASH if content["samples"] is None else str(int(content["samples"]))
    about = [_weights(content), f"gls {command}", str(content["data"]), samples, f"{float(content['epsilon']):.6g}"]
    return [*about, *(DASH if value is None else f"{100 * float(value):.2f}" for value in values)]


def tightness_sections(run: Path, name: str) -> list[Section]:
    """A section for each checkpoint whose tightness was measured.

    Args:
        run: The directory of the run.
        name: Begins the names of the pictures.
    """
    files = [*run.glob("tightness.json"), *evaluation_files(run, "tightness", "tightness.json")]
    return [_tightness(path, run, f"{name}-tightness-{number}") for number, path in enumerate(files)]


def _tightness(path: Path, run: Path, name: str) -> Section:
    notes: list[str] = []
    section = _read(path, run, _tightness_table, notes)
    picture = path.with_suffix(".png")
    caption = "certified accuracy over the radius, for each relaxation"
    pictures = [Picture(name, caption, caption, picture.read_bytes())] if picture.is_file() else []
    text, table = section or ("", None)
    return Section("Tightness", notes, [text] if text else [], [table] if table else [], pictures)


def _tightness_table(content: Mapping[str, Any]) -> tuple[str, Table]:
    radii = [float(radius) for radius in content["radii"]]
    shown = sorted({round((len(radii) - 1) * column / (_COLUMNS - 1)) for column in range(_COLUMNS)})
    rows = [
        [str(name), f"{float(of['auc']):.4f}", *(f"{100 * float(of['certified_accuracy'][i]):.2f}" for i in shown)]
        for name, of in content["relaxations"].items()
    ]
    header = ["relaxation", "area under the curve", *(f"epsilon {radii[index]:.4g}" for index in shown)]
    about = f"{int(content['samples'])} test images of {content['data']}. Weights: {_weights(content)}"
    return about, Table("certified accuracy in percent", header, rows)


def _weights(content: Mapping[str, Any]) -> str:
    return str(content["checkpoint"] or "initialisation")


def _read(path: Path, run: Path, understand: Callable[[Any], T], notes: list[str]) -> T | None:
    """Reads what a file says; None with a note if it is damaged."""
    try:
        return understand(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        notes.append(f"{path.relative_to(run)} is damaged: {type(error).__name__}, {error}")
        return None
