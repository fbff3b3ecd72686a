"""Settings that all results of a table share, kept beside them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from gls_lightning.commands.table.rows import Row
from gls_lightning.errors import ConfigurationError
from gls_lightning.reports import flatten
from gls_lightning.run_files import DAMAGE, ResultFile


@dataclass(frozen=True)
class TableSettings(ResultFile):
    """Content of ``settings.json``.

    Attributes:
        overrides: Options of each training and certification.
        certify: Options of each certification alone.
        weights: Which weights are certified; None for the default.
        rows: The configurations with their bases, by the names of the rows, first stages included.
    """

    FILE: ClassVar[str] = "settings.json"

    overrides: Sequence[str]
    certify: Sequence[str]
    weights: str | None
    rows: Mapping[str, Any]

    @classmethod
    def of(
        cls, rows: Sequence[Row], overrides: Sequence[str], certify: Sequence[str], weights: str | None
    ) -> "TableSettings":
        """Returns the settings of a command."""
        stages = [row.start for row in rows if row.start is not None]
        contents = {row.name: row.content for row in (*rows, *stages)}
        plain = json.loads(json.dumps(contents, default=str))  # as they are read back
        return cls(tuple(sorted(overrides)), tuple(sorted(certify)), weights, plain)

    def keep(self, table: Path) -> None:
        """Writes them into the directory of a table, with those of further rows that are there.

        Raises:
            ConfigurationError: As :meth:`check`.
        """
        replace(self, rows={**self.check(table), **self.rows}).write(table)

    def check(self, table: Path) -> Mapping[str, Any]:
        """Returns the rows of the results that are in the directory of a table.

        Raises:
            ConfigurationError: They have other settings, or the directory holds something else.
        """
        path = table / self.FILE
        if not path.is_file():
            if table.exists() and (not table.is_dir() or any(table.iterdir())):
                raise ConfigurationError(f"output is {table}, which holds something else than a table; choose another")
            return {}
        try:
            before = TableSettings.read(path)
        except DAMAGE as error:
            raise ConfigurationError(f"{path} cannot be read ({error}); choose another --output") from error
        if differing := self._difference(before):
            raise ConfigurationError(f"output is {table}, whose results have {differing}; choose another --output")
        return before.rows

    def _difference(self, before: "TableSettings") -> str:
        """Says in what results that are there differ; empty if in nothing."""
        for name in ("overrides", "certify", "weights"):
            then, now = getattr(before, name), getattr(self, name)
            if then != now:
                return f"other {name} ({_words(then)} and not {_words(now)})"
        for name, content in self.rows.items():
            then, now = flatten(before.rows.get(name, content)), flatten(content)
            if keys := sorted(key for key in {*then, *now} if then.get(key) != now.get(key)):
                key = keys[0]
                return f"another configuration {name} ({key} {then.get(key)} and not {now.get(key)})"
        return ""


def _words(value: Sequence[str] | str | None) -> str:
    return (value if isinstance(value, str) else " ".join(value or ())) or "none"
