"""A file of records: one line of JSON each, behind a line that says what they are of."""

import json
import math
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from gls_lightning.certification.fingerprint import Fingerprint
from gls_lightning.certification.record import Record, Verdict
from gls_lightning.errors import ConfigurationError


class RecordFile:
    """A new file, to which this process alone writes.

    It is called ``records-<start>-<end>-rank<rank>.jsonl``, with a number behind it where there is one of that name.

    Args:
        directory: Where the file lies.
        fingerprint: What the records are of.
        chosen: Indices of the samples that are to be certified, by all processes together.
        rank: This process.
        certifier: How they are certified, as values that JSON can hold.
    """

    def __init__(
        self, directory: Path, fingerprint: Fingerprint, chosen: range, rank: int, certifier: dict[str, Any]
    ) -> None:
        name = f"records-{chosen.start}-{chosen.stop}-rank{rank}"
        for number in count(2):
            try:
                self._file = (directory / f"{name}.jsonl").open("x")
                break
            except FileExistsError:
                name = f"records-{chosen.start}-{chosen.stop}-rank{rank}-{number}"
        about = {"start": chosen.start, "end": chosen.stop, "certifier": certifier}
        self._write({"fingerprint": dict(fingerprint), **about})

    def append(self, record: Record) -> None:
        """Writes a record, which no end of this process will undo."""
        self._write(as_json(record))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, content: dict[str, Any]) -> None:
        self._file.write(json.dumps(content, allow_nan=False) + "\n")
        self._file.flush()


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        fingerprint: What the records are of.
        chosen: Indices of the samples that were to be certified.
        certifier: How they were certified.
        records: The records, without counterexamples.
    """

    fingerprint: Fingerprint
    chosen: range
    certifier: dict[str, Any]
    records: list[Record]


def read_record_file(path: Path) -> Content | None:
    """Reads a file; None if not even its first line is complete.

    A last line without its end is as if it were not there: its process was killed, or still writes.

    Raises:
        ConfigurationError: A line is damaged.
    """
    lines = path.read_text(errors="replace").split("\n")[:-1]
    if not lines:
        return None
    header, *rest = (_parse(path, number, line) for number, line in enumerate(lines, start=1))
    try:
        chosen = range(header["start"], header["end"])
        records = [Record(**fields | {"verdict": Verdict(fields["verdict"])}) for fields in rest]
        return Content(header["fingerprint"], chosen, header["certifier"], records)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(f"{path} is no file of records; remove it, or choose another directory") from error


def _parse(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise ConfigurationError(f"{path} is damaged in line {number}; remove that line or the file") from error
    return content


def as_json(record: Record) -> dict[str, Any]:
    """The record as plain values, without its counterexample."""
    fields = {name: value for name, value in vars(record).items() if name != "counterexample"}
    finite = record.margin is not None and math.isfinite(record.margin)
    return fields | {"margin": record.margin if finite else None}
