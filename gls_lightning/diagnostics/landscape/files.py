"""Landscapes in files."""

import csv
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gls_lightning.diagnostics.landscape.landscape import Landscape
from gls_lightning.diagnostics.landscape.tables import LandscapeTable, landscape_tables
from gls_lightning.run_files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = ("curves", "scores", "population", "surface")


def write_landscape(
    directory: Path, landscape: Landscape, figures: Mapping[str, "Figure"], about: Mapping[str, Any]
) -> list[Path]:
    """Writes numbers and pictures.

    Args:
        directory: Is made where there is none. Files of an earlier landscape there are replaced.
        landscape: The numbers: ``curves.csv``, and ``scores.csv`` along a line.
        figures: The pictures by name: ``curves.png`` and so on.
        about: What else is to be known, as values of JSON: ``landscape.json``.

    Returns:
        The files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tables = landscape_tables(landscape)
    content = json.dumps({**about, "axes": landscape.axes, "lengths": landscape.lengths}, indent=2)
    files = ["landscape.json", *(f"{name}.csv" for name in tables), *(f"{name}.png" for name in figures)]
    if (directory / "landscape.json").exists():
        for stale in {"scores.csv", *(f"{name}.png" for name in PICTURES)} - set(files):
            (directory / stale).unlink(missing_ok=True)
    write_whole(directory / "landscape.json", lambda path: path.write_text(content + "\n"))
    for name, table in tables.items():
        write_whole(directory / f"{name}.csv", partial(_write_csv, table))
    for name, figure in figures.items():
        write_whole(directory / f"{name}.png", partial(figure.savefig, format="png"))
    return [directory / name for name in files]


def _write_csv(table: LandscapeTable, path: Path) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(table.columns)
        writer.writerows(table.rows)
