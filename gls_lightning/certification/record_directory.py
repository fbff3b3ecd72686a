"""Records in a directory: those of all its files together."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save

from gls_lightning.certification.fingerprint import Fingerprint, differences
from gls_lightning.certification.record import Record, Verdict
from gls_lightning.certification.record_file import RecordFile, read_record_file
from gls_lightning.errors import ConfigurationError, ContradictionError
from gls_lightning.whole_file import write_whole


class Found(NamedTuple):
    """What a directory holds.

    Attributes:
        records: A record for each sample that has any, by its index, in their order.
        chosen: The indices that were to be certified.
        certifiers: How they were certified: each way once.
    """

    records: dict[int, Record]
    chosen: set[int]
    certifiers: list[dict[str, Any]]


class RecordDirectory:
    """The records of one network, radius and test set.

    Every process writes a file of its own, so that any number of them may work at once, and none goes on in a line that
    another one did not end.

    Args:
        path: The directory.
        fingerprint: What the records are of.
    """

    def __init__(self, path: Path, fingerprint: Fingerprint) -> None:
        self.path = path
        self.fingerprint = fingerprint

    def read(self) -> Found:
        """Reads all files.

        Raises:
            ConfigurationError: A file is of something else, or damaged.
            ContradictionError: Two records of a sample cannot both be true.
        """
        records: list[Record] = []
        chosen: set[int] = set()
        certifiers: list[dict[str, Any]] = []
        for file in sorted(self.path.glob("records-*.jsonl")):
            if (content := read_record_file(file)) is not None:
                if different := differences(content.fingerprint, self.fingerprint):
                    raise ConfigurationError(
                        f"{self.path} holds records that differ in {different}; choose another directory with --output"
                    )
                records += content.records
                chosen.update(content.chosen)
                certifiers += [] if content.certifier in certifiers else [content.certifier]
        return Found(merge(records), chosen, certifiers)

    def new_file(self, chosen: range, rank: int, certifier: dict[str, Any]) -> RecordFile:
        """A file for the records of this process; see :class:`RecordFile`."""
        return RecordFile(self.path, self.fingerprint, chosen, rank, certifier)

    def counterexample(self, index: int) -> Path:
        """Where the counterexample of a sample is stored: a tensor of this name ``[*input]``, float64."""
        return self.path / "counterexamples" / f"{index}.safetensors"

    def store_counterexample(self, record: Record) -> None:
        """Stores the counterexample of a record, if it has one."""
        if record.counterexample is not None:
            content = save({"counterexample": record.counterexample.contiguous()})
            path = self.counterexample(record.index)
            path.parent.mkdir(exist_ok=True)
            write_whole(path, lambda draft: draft.write_bytes(content))


def merge(records: Iterable[Record]) -> dict[int, Record]:
    """The record that says most about each sample, by its index, in their order.

    A decision says more than an unknown verdict, that more than an error; otherwise what took longer.

    Raises:
        ContradictionError: Two records of a sample cannot both be true.
    """
    merged: dict[int, Record] = {}
    for record in records:
        other = merged.get(record.index, record)
        verdicts = {record.verdict, other.verdict}
        if Verdict.CERTIFIED in verdicts and verdicts & {Verdict.FALSIFIED, Verdict.MISCLASSIFIED}:
            raise ContradictionError(
                f"one record of sample {record.index} says {record.verdict} ({record.stage}), another one "
                f"{other.verdict} ({other.stage}): one of the stages is wrong"
            )
        merged[record.index] = max(other, record, key=_knowledge)
    return dict(sorted(merged.items()))


def _knowledge(record: Record) -> tuple[bool, bool, float]:
    return record.verdict.decided, record.verdict is Verdict.UNKNOWN, record.seconds
