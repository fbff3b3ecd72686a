"""Readers of record files, also while their processes write them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gls_lightning.certification.fingerprint import Fingerprint, differences
from gls_lightning.certification.record import Record
from gls_lightning.certification.record_line import (
    ImpossibleLine,
    decode,
    is_count,
    record_of,
    require_fields,
    require_unchanged,
)
from gls_lightning.certification.system_errors import refused_by_system
from gls_lightning.errors import ConfigurationError

_LONGEST_LINE = 2**20
"""Bytes; a hundred times what a certifier's description takes."""


class RecordReader:
    """A file of records, which may grow.

    A last line without an end is left for the next reading: its process is still writing it, or was killed. Any other
    line that no process can have written makes the whole file invalid, because it hides the result of some sample.

    Args:
        path: The file.
        fingerprint: Fingerprint that the file must have.
        labels: The classes of all samples of the data set.

    Attributes:
        chosen: Indices of the samples that its process was to certify, together with others.
        certifier: Description of the certifier; None until the first line is complete.
        records: The records, without counterexamples.
        notes: Oddities that do not count, in words.
    """

    def __init__(self, path: Path, fingerprint: Fingerprint, labels: Sequence[int]) -> None:
        self.path = path
        self.chosen = range(0)
        self.certifier: dict[str, Any] | None = None
        self.records: list[Record] = []
        self._fingerprint = fingerprint
        self._labels = labels
        self._position = 0
        self._lines = 0
        self._seen: dict[int, int] = {}
        self._repeated: list[str] = []
        self._cut = False

    @property
    def notes(self) -> list[str]:
        """Oddities in the file that do not count, in words."""
        cut = [f"{self.path} ends within line {self._lines + 1}, which does not count"] if self._cut else []
        return self._repeated + cut

    def read(self) -> None:
        """Reads the lines that were added.

        Raises:
            ConfigurationError: The file cannot be read, has another fingerprint, or has an impossible line.
        """
        for line in self._new_lines():
            self._lines += 1
            try:
                self._take(decode(line))
            except (ImpossibleLine, RecursionError) as error:
                reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
                what = "line" if self._lines > 1 else "file"
                raise ConfigurationError(f"{self.path}, line {self._lines}: {reason}; remove the {what}") from error

    def _new_lines(self) -> Iterator[bytes]:
        """Yields the complete lines, one at a time, however long the file is."""
        if not self.path.is_file():
            raise ConfigurationError(f"{self.path} is no file; records are files")
        with refused_by_system(self.path, "records must be readable"), self.path.open("rb") as stream:
            stream.seek(self._position)
            while (line := stream.readline(_LONGEST_LINE)).endswith(b"\n"):
                self._position += len(line)
                yield line
        if len(line) == _LONGEST_LINE:
            raise ConfigurationError(f"{self.path}, line {self._lines + 1}: it is longer than any record; remove it")
        self._cut = bool(line)

    def _take(self, content: dict[str, Any]) -> None:
        if self.certifier is None:
            self._begin(content)
            return
        record = record_of(content, self._labels, int(self._fingerprint["classes"]), self.certifier["stages"])
        self.records.append(record)
        if record.index in self._seen:
            lines = f"lines {self._seen[record.index]} and {self._lines}"
            self._repeated.append(
                f"{self.path}, {lines}: both are of sample {record.index}; the one that says more counts"
            )
        self._seen[record.index] = self._lines

    def _begin(self, content: dict[str, Any]) -> None:
        """Takes the first line."""
        theirs = content.get("fingerprint")
        if not isinstance(theirs, dict):
            raise ImpossibleLine("it does not say what the records are of")
        if different := differences(theirs, self._fingerprint):
            raise ConfigurationError(
                f"{self.path.parent} holds records that differ in {different}; choose another directory with --output"
            )
        require_fields(content, ("fingerprint", "start", "end", "certifier"))
        start, end, certifier = (content[name] for name in ("start", "end", "certifier"))
        samples = len(self._labels)
        if not is_count(start):
            raise ImpossibleLine.of("start", start, "it must be a whole number of at least 0")
        if not (is_count(end) and start < end <= samples):
            raise ImpossibleLine.of("end", end, f"it must be above start, which is {start}, and at most {samples}")
        stages = certifier.get("stages") if isinstance(certifier, dict) else None
        if not isinstance(stages, dict) or not all(name.isprintable() for name in stages):
            raise ImpossibleLine.of("certifier", certifier, "it must hold the stages by their names")
        require_unchanged(content)
        self.chosen, self.certifier = range(start, end), certifier
