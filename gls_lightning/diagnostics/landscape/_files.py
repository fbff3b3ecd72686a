"""Landscapes in files."""

import csv
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gls_lightning.diagnostics.landscape.landscape import Landscape
from gls_lightning.diagnostics.landscape.tables import LandscapeTable, landscape_tables
from gls_lightning.run_files import PICTURES, LandscapeDescription, picture_file, table_file, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_landscape(
    directory: Path, landscape: Landscape, figures: Mapping[str, "Figure"], title: str, about: Mapping[str, Any]
) -> list[Path]:
    """Writes numbers and pictures.

    Args:
        directory: Is made where there is none. Files of an earlier landscape there are replaced.
        landscape: The numbers: ``curves.csv``, and ``scores.csv`` along a line.
        figures: The pictures by name: ``curves.png`` and so on.
        title: Title of the pictures.
        about: What else is to be known, as values of JSON: ``landscape.json``.

    Returns:
        The files.
    """
    tables = landscape_tables(landscape)
    writers = {table_file(name): partial(_write_csv, table) for name, table in tables.items()}
    writers |= {picture_file(name): partial(figure.savefig, format="png") for name, figure in figures.items()}
    if (directory / LandscapeDescription.FILE).exists():
        for stale in {table_file("scores"), *map(picture_file, PICTURES)} - writers.keys():
            (directory / stale).unlink(missing_ok=True)
    description = LandscapeDescription(title, about, landscape.axes, landscape.lengths).write(directory)
    for name, write in writers.items():
        write_whole(directory / name, write)
    return [description, *(directory / name for name in writers)]


def _write_csv(table: LandscapeTable, path: Path) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(table.columns)
        writer.writerows(table.rows)
