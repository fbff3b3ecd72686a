"""Results of commands in JSON files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from gls_lightning.run_files.whole_file import write_whole

DAMAGE = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
"""The errors of reading a file that is absent, or does not say what such a file says."""


class ResultFile:
    """Content of a JSON file, a dataclass whose fields in their order are the entries.

    A field with a default may be absent, because earlier versions wrote none. One that Python cannot name so, such as
    ``class``, has an underscore behind its name.

    Attributes:
        FILE: Name of the file.
        DIRECTORY: Name of the directory of a run in which a directory for each checkpoint has such a file.
        FINITE: Whether a number that is not finite, for which JSON has no word, would be a defect.
    """

    FILE: ClassVar[str]
    DIRECTORY: ClassVar[str]
    FINITE: ClassVar[bool] = True

    def write(self, directory: Path) -> Path:
        """Writes the file into a directory, which is made where there is none, and returns it.

        Raises:
            OSError: It cannot be written.
        """
        text = json.dumps(self._entries(), indent=2, allow_nan=not self.FINITE, default=_entries)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / self.FILE
        write_whole(path, lambda draft: draft.write_text(text + "\n"))
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file.

        Raises:
            Exception: One of ``DAMAGE``.
        """
        return cls._restored(json.loads(path.read_text()))

    def _entries(self) -> dict[str, Any]:
        return _entries(self)

    @classmethod
    def _restored(cls, entries: dict[str, Any]) -> Self:
        return _restored(cls, entries)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class EvaluationFile(ResultFile):
    """Results of an evaluation of a model on test images.

    Attributes:
        checkpoint: The file with the weights; None for those of the initialisation.
        network: Class of the network.
        data: Class of the data module.
        epsilon: The model's radius.
    """

    checkpoint: str | None
    network: str
    data: str
    epsilon: float


def _key(field: str) -> str:
    return field.rstrip("_")


def _entries(value: Any) -> dict[str, Any]:
    if not is_dataclass(value):
        raise TypeError(f"{value!r} is no value of JSON")
    return {_key(name): of for name, of in vars(value).items()}


def _restored(kind: Any, value: Any) -> Any:
    """Makes a value of one of the types that fields have from what JSON holds of it."""
    if kind is Any:
        return value
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        optional = {of.name for of in fields(kind) if (of.default, of.default_factory) != (MISSING, MISSING)}
        names = [of.name for of in fields(kind) if of.name in value or of.name not in optional]
        return kind(**{name: _restored(hints[name], value[_key(name)]) for name in names})  # type: ignore[operator]
    if origin is UnionType:
        return None if value is None else _restored(inner[0], value)
    if origin is Mapping:
        return {_restored(inner[0], key): _restored(inner[1], of) for key, of in value.items()}
    if origin is Sequence:
        return tuple(_restored(inner[0], of) for of in value)
    return kind(value)
