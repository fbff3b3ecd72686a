"""Records in a directory: those of all its files together."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save

from gls_lightning.certification.fingerprint import Fingerprint
from gls_lightning.certification.record import Record, Verdict
from gls_lightning.certification.record_file import RecordFile
from gls_lightning.certification.record_reader import RecordReader
from gls_lightning.certification.system_errors import RECORDS_KEPT, refused_by_system
from gls_lightning.run_files import RECORDS, write_whole


class Found(NamedTuple):
    """What a directory holds.

    Attributes:
        records: A record for each sample that has any, by its index, in their order.
        attempts: How many records each file has of each sample.
        contradictory: The samples whose records cannot all be true; the record of each is an error.
        chosen: The indices that were to be certified.
        certifiers: How they were certified: each way once.
        notes: What is odd in the files and does not count, in words.
    """

    records: dict[int, Record]
    attempts: dict[str, Counter[int]]
    contradictory: set[int]
    chosen: set[int]
    certifiers: list[dict[str, Any]]
    notes: list[str]


class RecordDirectory:
    """The records of one network, radius and test set.

    Every process writes a file of its own, so that any number of them may work at once, and none goes on in a line that
    another one did not end.

    Args:
        path: The directory.
        fingerprint: What the records are of.
        labels: The classes of all samples of the data set.
    """

    def __init__(self, path: Path, fingerprint: Fingerprint, labels: Sequence[int]) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self._labels = labels
        self._readers: dict[Path, RecordReader] = {}

    def read(self) -> Found:
        """Reads all files; what was read before is not read again.

        Raises:
            ConfigurationError: A file is of something else, or damaged.
        """
        for path in sorted(self.path.glob(RECORDS)):
            if path not in self._readers:
                self._readers[path] = RecordReader(path, self.fingerprint, self._labels)
            self._readers[path].read()
        readers = [reader for _, reader in sorted(self._readers.items())]
        merged, contradictory = merge({reader.path.name: reader.records for reader in readers})
        certifiers: list[dict[str, Any]] = []
        for reader in readers:
            if reader.certifier is not None and reader.certifier not in certifiers:
                certifiers.append(reader.certifier)
        return Found(
            merged,
            {reader.path.name: Counter(record.index for record in reader.records) for reader in readers},
            contradictory,
            {index for reader in readers for index in reader.chosen},
            certifiers,
            [note for reader in readers for note in reader.notes],
        )

    def new_file(self, chosen: range, rank: int, certifier: dict[str, Any]) -> RecordFile:
        """A file for the records of this process; see :class:`RecordFile`."""
        return RecordFile(self.path, self.fingerprint, chosen, rank, certifier)

    @property
    def claims(self) -> Path:
        """The file by whose locks processes share the work; see :class:`Claims`."""
        return self.path / "claims"

    def counterexample(self, index: int) -> Path:
        """Where the counterexample of a sample is stored: a tensor of this name ``[*input]``, float64."""
        return self.path / "counterexamples" / f"{index}.safetensors"

    def store_counterexample(self, record: Record) -> None:
        """Stores the counterexample of a record, if it has one.

        Raises:
            ConfigurationError: There is no room for it.
        """
        if record.counterexample is not None:
            content = save({"counterexample": record.counterexample.contiguous()})
            path = self.counterexample(record.index)
            with refused_by_system(path, RECORDS_KEPT):
                path.parent.mkdir(exist_ok=True)
                write_whole(path, lambda draft: draft.write_bytes(content))


def merge(files: Mapping[str, Iterable[Record]]) -> tuple[dict[int, Record], set[int]]:
    """The record that says most about each sample, by its index, in their order; and the contradictory samples.

    A decision says more than an unknown verdict, that more than an error; otherwise what took longer. Records of which
    one certifies what another one refutes are an error together.

    Args:
        files: The records of each file.
    """
    merged: dict[int, Record] = {}
    sources: dict[int, str] = {}
    contradictory: dict[int, Record] = {}
    for source, records in files.items():
        for record in records:
            index = record.index
            other = merged.get(index)
            if other is not None and index not in contradictory and _contradict(record, other):
                contradictory[index] = _error(other, sources[index], record, source)
            if other is None or _knowledge(record) > _knowledge(other):
                merged[index], sources[index] = record, source
    merged |= contradictory
    return {index: merged[index] for index in sorted(merged)}, set(contradictory)


def _contradict(one: Record, other: Record) -> bool:
    verdicts = {one.verdict, other.verdict}
    return Verdict.CERTIFIED in verdicts and bool(verdicts & {Verdict.FALSIFIED, Verdict.MISCLASSIFIED})


def _error(one: Record, source_of_one: str, other: Record, source_of_other: str) -> Record:
    reason = (
        f"{source_of_one} says {one.verdict} ({one.stage}) and {source_of_other} {other.verdict} ({other.stage}): one "
        "of the stages is wrong"
    )
    seconds = max(one.seconds, other.seconds)
    return replace(one, verdict=Verdict.ERROR, stage=None, margin=None, seconds=seconds, reason=reason)


def _knowledge(record: Record) -> tuple[bool, bool, float]:
    return record.verdict.decided, record.verdict is Verdict.UNKNOWN, record.seconds
