"""Rows of a table: configurations, and those of the networks that they start from."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from gls_lightning.configuration import SHIPPED, compose, find_config
from gls_lightning.errors import ConfigurationError

_TABLE = re.compile(r"table(\d+)")


@dataclass(frozen=True)
class Row:
    """A configuration.

    Attributes:
        config: Its file.
        content: What it says, with its bases.
        start: The configuration of the network that it starts from; None if it starts from its initialisation.
    """

    config: Path
    content: Mapping[str, Any]
    start: "Row | None" = None

    @property
    def name(self) -> str:
        """The name of the file, without its ending."""
        return self.config.stem

    @property
    def stages(self) -> "list[Row]":
        """Itself, and the first stage if there is one."""
        return [self] if self.start is None else [self, self.start]

    @property
    def paper(self) -> Mapping[str, Any]:
        """The published accuracies, in percent, and ``tables``; empty if there are none."""
        return self.content.get("paper") or {}


def find_rows(names: Sequence[str], patterns: Sequence[str]) -> list[Row]:
    """Finds the rows of tables.

    Args:
        names: Each a table of the paper, such as ``table1``; a configuration; or a folder of configurations, here or
            among the shipped ones.
        patterns: Patterns of the rows' names, of which one must fit; all rows if there are none.

    Raises:
        ConfigurationError: There is no such table or configuration, no row fits a pattern, or two have one name.
    """
    found = [read_row(config) for name in names for config in _configs(name)]
    for pattern in patterns:
        if not any(fnmatch(row.name, pattern) for row in found):
            raise ConfigurationError(f"rows is {pattern}, which no row fits; the rows are {rows_in_words(found)}")
    chosen = [row for row in found if not patterns or any(fnmatch(row.name, pattern) for pattern in patterns)]
    _check_names(stage for row in chosen for stage in row.stages)
    return list({row.name: row for row in chosen}.values())


def rows_in_words(rows: Sequence[Row]) -> str:
    """Returns the names of some rows."""
    return ", ".join(row.name for row in rows[:5]) + (", ..." if len(rows) > 5 else "")


def read_row(config: Path) -> Row:
    """Reads a configuration, and that of its first stage.

    Raises:
        ConfigurationError: One cannot be read, or the first stage is not found or has itself one.
    """
    content = compose(config).content
    if (stage := content.get("first_stage")) is None:
        return Row(config, content)
    beside = config.parent / str(stage)
    start = read_row(beside if beside.is_file() else find_config(str(stage)))
    if start.start is not None:
        raise ConfigurationError(f"first_stage of {config} is {stage}, which has a first_stage itself; one is allowed")
    return Row(config, content, start)


def _configs(name: str) -> list[Path]:
    if match := _TABLE.fullmatch(name):
        number = int(match[1])
        rows = sorted((SHIPPED / "paper").glob("*.yaml"))
        if found := [row for row in rows if number in (compose(row).content.get("paper") or {}).get("tables", ())]:
            return found
        raise ConfigurationError(f"NAME is {name}; the tables are table1 to table8")
    for folder in (Path(name), SHIPPED / name):
        if folder.is_dir() and (found := sorted(folder.glob("*.yaml"))):
            return found
    return [find_config(name)]


def _check_names(rows: Iterable[Row]) -> None:
    configs: dict[str, Path] = {}
    for row in rows:
        other = configs.setdefault(row.name, row.config)
        if other.resolve() != row.config.resolve():
            raise ConfigurationError(f"{other} and {row.config} have one name, by which results are told apart")
