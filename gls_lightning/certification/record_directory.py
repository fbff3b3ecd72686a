"""The records in a directory, from all its files together."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save

from gls_lightning.certification._record_reader import RecordReader
from gls_lightning.certification.fingerprint import Fingerprint
from gls_lightning.certification.record import Record, Verdict
from gls_lightning.certification.record_file import RecordFile
from gls_lightning.certification.system_errors import RECORDS_KEPT, refused_by_system
from gls_lightning.run_files import RECORDS, write_whole


class Found(NamedTuple):
    """The contents of a directory of records.

    Attributes:
        records: The best record of each sample that has one, by its index, in their order.
        attempts: Number of records of each sample, by the file.
        contradictory: Samples whose records cannot all be true; the record of each is an error.
        chosen: Indices of the samples that were to be certified.
        certifiers: Descriptions of the certifiers, each once.
        notes: Oddities in the files that do not count, in words.
    """

    records: dict[int, Record]
    attempts: dict[str, Counter[int]]
    contradictory: set[int]
    chosen: set[int]
    certifiers: list[dict[str, Any]]
    notes: list[str]


class RecordDirectory:
    """The records of one network, radius and test set.

    Every process writes a file of its own. So any number of processes may work at once, and none continues a line that
    another process left unfinished.

    Args:
        path: The directory.
        fingerprint: Fingerprint of the network, radius and test set.
        labels: The classes of all samples of the data set.
    """

    def __init__(self, path: Path, fingerprint: Fingerprint, labels: Sequence[int]) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self._labels = labels
        self._readers: dict[Path, RecordReader] = {}

    def read(self) -> Found:
        """Reads all files, from where it stopped the last time.

        Raises:
            ConfigurationError: A file has another fingerprint, or is damaged.
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
        """Makes a file for the records of this process; see :class:`RecordFile`."""
        return RecordFile(self.path, self.fingerprint, chosen, rank, certifier)

    @property
    def claims(self) -> Path:
        """The file of the processes' claims; see :class:`Claims`."""
        return self.path / "claims"

    def counterexample(self, index: int) -> Path:
        """Returns the file of a sample's counterexample, a tensor ``counterexample [*input]``, float64."""
        return self.path / "counterexamples" / f"{index}.safetensors"

    def store_counterexample(self, record: Record) -> None:
        """Stores the counterexample of a record, if it has one.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        if record.counterexample is not None:
            content = save({"counterexample": record.counterexample.contiguous()})
            path = self.counterexample(record.index)
            with refused_by_system(path, RECORDS_KEPT):
                path.parent.mkdir(exist_ok=True)
                write_whole(path, lambda draft: draft.write_bytes(content))


def merge(files: Mapping[str, Iterable[Record]]) -> tuple[dict[int, Record], set[int]]:
    """Chooses for each sample the record that says most; returns them by index, and the contradictory samples.

    A decision says more than an unknown verdict, and this more than an error; of two alike, the one that took longer
    counts. If one record certifies what another one refutes, the sample is an error.

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
