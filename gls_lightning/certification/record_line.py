"""A line of a file of records, an object of JSON with a checksum, and the check of its values."""

import json
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any
from zlib import crc32

from gls_lightning.certification.record import Record, Verdict

_CHECKSUM = "check"


class ImpossibleLine(ValueError):  # noqa: N818  (it is the line that is impossible)
    """An error: no process wrote this line; the message names key and value, and says what would be right."""

    @classmethod
    def of(cls, key: str, value: object, right: str) -> "ImpossibleLine":
        """Makes the exception for a value."""
        return cls(f"{_short(key)} is {_short(value)}; {right}")


def _short(value: object) -> str:
    shown = value if isinstance(value, str) and value.isidentifier() else repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}..."


def is_count(value: object) -> bool:
    """Says whether a value is a whole number of at least 0, and no boolean."""
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: object) -> bool:
    return (type(value) is int and abs(value) < 2**63) or (type(value) is float and math.isfinite(value))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_time(value: Any) -> bool:
    return _is_number(value) and value >= 0


_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "index": (is_count, "it must be a whole number of at least 0"),
    "label": (is_count, "it must be a whole number of at least 0"),
    "prediction": (lambda value: value is None or is_count(value), "it must be a whole number of at least 0, or null"),
    "verdict": (lambda value: value in list(Verdict), f"it must be one of {', '.join(Verdict)}"),
    "stage": (lambda value: value is None or _is_text(value), "it must be a name, or null"),
    "margin": (lambda value: value is None or _is_number(value), "it must be a finite number, or null"),
    "seconds": (_is_time, "it must be a finite number of at least 0"),
    "subdomains": (is_count, "it must be a whole number of at least 0"),
    "reason": (lambda value: value is None or _is_text(value), "it must be a text in one line, or null"),
}
"""The fields of a record, with a check of each value and the right values in words."""


def encode(content: dict[str, Any]) -> bytes:
    """Writes a line, with its end."""
    return (json.dumps({**content, _CHECKSUM: _checksum(content)}, allow_nan=False) + "\n").encode()


def decode(line: bytes) -> dict[str, Any]:
    """Reads the contents of a line, with its checksum, which :func:`require_unchanged` compares.

    Raises:
        ImpossibleLine: The line is no object of JSON.
    """
    try:
        content = json.loads(line.decode(), object_pairs_hook=_object, parse_float=_finite, parse_constant=_finite)
    except UnicodeDecodeError as error:
        raise ImpossibleLine("it is not text in UTF-8") from error
    except json.JSONDecodeError as error:
        raise ImpossibleLine(f"it is no JSON: {error.msg} at character {error.pos}") from error
    except ImpossibleLine:
        raise
    except ValueError as error:  # a whole number of thousands of digits
        raise ImpossibleLine("it holds a number that is too long") from error
    if not isinstance(content, dict):
        raise ImpossibleLine(f"it is {_short(content)}; it must be an object with the fields of a record")
    return content


def require_fields(content: dict[str, Any], names: Collection[str]) -> None:
    """Compares the names of the fields.

    Raises:
        ImpossibleLine: A field is missing, or not known.
    """
    for name in (*names, _CHECKSUM):
        if name not in content:
            raise ImpossibleLine(f"{name} is missing")
    for name, value in content.items():
        if name not in (*names, _CHECKSUM):
            raise ImpossibleLine.of(name, value, "there is no such field")


def require_unchanged(content: dict[str, Any]) -> None:
    """Compares the checksum.

    Raises:
        ImpossibleLine: The checksum differs.
    """
    written = content[_CHECKSUM]
    if written != _checksum({name: value for name, value in content.items() if name != _CHECKSUM}):
        raise ImpossibleLine.of(_CHECKSUM, written, "it does not fit the line, which was changed after it was written")


def record_of(content: dict[str, Any], labels: Sequence[int], classes: int, stages: Collection[str]) -> Record:
    """Reads the record in a line.

    Args:
        content: The contents of the line.
        labels: The classes of all samples of the data set.
        classes: Number of the network's classes.
        stages: Names of the stages that the process ran.

    Raises:
        ImpossibleLine: No process can have written a value.
    """
    require_fields(content, _FIELDS)
    for name, (is_possible, right) in _FIELDS.items():
        if not is_possible(content[name]):
            raise ImpossibleLine.of(name, content[name], right)
    fields = {name: content[name] for name in _FIELDS}
    record = Record(**fields | {"verdict": Verdict(fields["verdict"])})
    _require_sample(record, labels, classes)
    if record.stage is not None and record.stage not in stages:
        raise ImpossibleLine.of("stage", record.stage, f"the stages in the first line are {', '.join(stages)}")
    _require_consistent(record)
    require_unchanged(content)
    return record


def as_json(record: Record) -> dict[str, Any]:
    """Returns the record as values of JSON, without its counterexample."""
    fields = {name: getattr(record, name) for name in _FIELDS}
    finite = record.margin is not None and math.isfinite(record.margin)
    return fields | {"margin": record.margin if finite else None}


def _require_sample(record: Record, labels: Sequence[int], classes: int) -> None:
    """Compares the record with the test set.

    Raises:
        ImpossibleLine: The test set has no such sample.
    """
    if record.index >= len(labels):
        raise ImpossibleLine.of("index", record.index, f"the test set has {len(labels)} samples, counted from 0")
    if record.label != labels[record.index]:
        right = f"sample {record.index} of the test set has the label {labels[record.index]}"
        raise ImpossibleLine.of("label", record.label, right)
    if record.prediction is not None and record.prediction >= classes:
        raise ImpossibleLine.of("prediction", record.prediction, f"the network has {classes} classes")


def _require_consistent(record: Record) -> None:
    """Compares the values with the verdict."""
    verdict, margin, prediction = record.verdict, record.margin, record.prediction
    if verdict is Verdict.CERTIFIED and not (margin is not None and margin > 0):
        raise ImpossibleLine.of("margin", margin, "that of a certified sample is above 0")
    if verdict in (Verdict.FALSIFIED, Verdict.MISCLASSIFIED) and not (margin is None or margin <= 0):
        raise ImpossibleLine.of("margin", margin, f"that of a {verdict} sample is at most 0")
    if verdict in (Verdict.CERTIFIED, Verdict.FALSIFIED) and prediction != record.label:
        raise ImpossibleLine.of("prediction", prediction, f"that of a {verdict} sample is its label, {record.label}")
    if verdict is Verdict.MISCLASSIFIED and prediction in (None, record.label):
        raise ImpossibleLine.of("prediction", prediction, f"that of a {verdict} sample is another class than its label")
    if (record.stage is None) != (verdict is Verdict.UNKNOWN):
        raise ImpossibleLine.of("stage", record.stage, "an unknown sample has none, every other one has")
    if record.reason is not None and verdict is not Verdict.ERROR:
        raise ImpossibleLine.of("reason", record.reason, "only an error has one")


def _checksum(content: dict[str, Any]) -> str:
    return f"{crc32(json.dumps(content, allow_nan=False).encode()):08x}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ImpossibleLine(f"{_short(repeated)} is there twice")
    return content


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ImpossibleLine(f"it holds {_short(text)}, which is no finite number")
    return number
