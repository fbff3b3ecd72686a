"""Sections about what commands left in the directories of a report: a search, a table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gls_lightning.reports._document import Section
from gls_lightning.reports.front_section import front_section
from gls_lightning.reports.table_section import table_section
from gls_lightning.run_files import DAMAGE, FrontFile, ResultFile, ResultTable

_FILES: tuple[tuple[str, type[ResultFile], Callable[[Any, str], Section]], ...] = (
    ("front", FrontFile, front_section),
    ("table", ResultTable, table_section),
)
"""Files of commands: name of the command, the file, and what makes its section."""


def command_sections(directories: Sequence[str]) -> list[Section]:
    """Returns a section for each search and each table that lies in one of the directories."""
    found: list[Section] = []
    for command, file, section in _FILES:
        paths = [path for directory in directories if (path := Path(directory, file.FILE)).is_file()]
        for number, path in enumerate(paths, 1):
            try:
                found.append(section(file.read(path), f"{command}-{number}"))
            except DAMAGE as error:
                note = f"{path} is no file of gls {command}: {type(error).__name__}"
                found.append(Section(command.capitalize(), notes=[note]))
    return found
