"""Results of ``gls landscape``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gls_lightning.commands.shared import EvaluatedModel
from gls_lightning.diagnostics.landscape import Landscape, keep_landscape, score_table


def report_landscape(evaluated: EvaluatedModel, output: Path, landscape: Landscape, about: Mapping[str, Any]) -> None:
    """Prints a table of the scores, and keeps numbers and pictures in files and loggers.

    To be called on the first process.

    Args:
        evaluated: The model that is looked at.
        output: Directory for the files.
        landscape: The landscape.
        about: What else is to be known: ``objective``, ``epsilon``, ``samples`` and further entries.
    """
    about = {**evaluated.about, **about}
    title = "{network}: {objective}, epsilon {epsilon:.6g}, {samples} test images of {data}".format(**about)
    console = Console(soft_wrap=True)
    if not landscape.is_plane:
        console.print(_table(landscape, title))
    for path in keep_landscape(evaluated.trainer, landscape, output, title, about):
        console.print(f"{path.stem:<16} {path}")


def _table(landscape: Landscape, title: str) -> Table:
    columns, rows = score_table(landscape)
    table = Table(*(column.replace("_", " ") for column in columns), title=title)
    for relaxation, sigma, *numbers in rows:
        table.add_row(str(relaxation), f"{sigma:g}" if sigma else "original", *(f"{number:.4g}" for number in numbers))
    return table
