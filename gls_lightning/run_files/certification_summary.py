"""Files of ``gls certify``: records, and ``summary.json``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from gls_lightning.run_files.accuracies import ACCURACIES, ACCURACY_METRICS
from gls_lightning.run_files.json_file import write_json

RECORDS = "records-*.jsonl"
"""Pattern of the names of the files with records."""


class Time(NamedTuple):
    """Time that some of the samples took.

    Attributes:
        samples: How many they are.
        seconds: Time spent on them.
        longest: Time spent on one of them at most, in seconds.
    """

    samples: int
    seconds: float
    longest: float

    @property
    def mean(self) -> float:
        """Seconds for each sample; 0 if there are none."""
        return self.seconds / max(self.samples, 1)


@dataclass(frozen=True)
class Summary:
    """Accuracies as certified training counts them: fractions of all samples.

    Attributes:
        natural_accuracy: Classified correctly.
        certified_accuracy: Certified.
        adversarial_accuracy: Classified correctly and not falsified: an upper bound of the robust accuracy.
        verdicts: The samples with each verdict.
        stages: The samples that each stage decided, the stage that decided most of them first.
        hard: The samples that branch and bound examined, or that no stage decided.
        total: All samples.
    """

    natural_accuracy: float
    certified_accuracy: float
    adversarial_accuracy: float
    verdicts: Mapping[str, Time]
    stages: Mapping[str, Time]
    hard: Time
    total: Time

    @property
    def accuracies(self) -> dict[str, float]:
        """The accuracies by their short names."""
        return {name: getattr(self, f"{name}_accuracy") for name in ACCURACIES}


@dataclass(frozen=True)
class CertificationSummary:
    """Content of ``summary.json``: the summary of a directory of records, and what it is of.

    Attributes:
        checkpoint: The file with the weights; None for those of the initialisation.
        network: Class of the network.
        options: Options of the command.
        fingerprint: What the verdicts depend on; among it the data set and the radius.
        missing: How many images were to be certified and have no record yet.
        summary: Accuracies and times.
        intervals: The accuracies' 95 % Clopper-Pearson intervals, by their short names.
        certifiers: How the images were certified: each way once.
        errors: The reasons of the images that are errors, by their indices.
    """

    DIRECTORY: ClassVar[str] = "certification"
    FILE: ClassVar[str] = "summary.json"

    checkpoint: str | None
    network: str
    options: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    missing: int
    summary: Summary
    intervals: Mapping[str, tuple[float, float]]
    certifiers: Sequence[Mapping[str, Any]] = ()
    errors: Mapping[int, str | None] = field(default_factory=dict)

    @property
    def dataset(self) -> str:
        """The data set whose test images were certified."""
        return str(self.fingerprint["dataset"])

    @property
    def epsilon(self) -> float:
        """The radius."""
        return float(self.fingerprint["epsilon"])

    def write(self, directory: Path) -> Path:
        """Writes the file into a directory, and returns it.

        Raises:
            OSError: It cannot be written.
        """
        summary = self.summary
        content = {
            "checkpoint": self.checkpoint,
            "network": self.network,
            "options": self.options,
            "certifiers": self.certifiers,
            "fingerprint": self.fingerprint,
            "missing": self.missing,
            "errors": self.errors,
            **{f"{name}_accuracy": accuracy for name, accuracy in summary.accuracies.items()},
            "intervals": {f"{name}_accuracy": interval for name, interval in self.intervals.items()},
            "total": self._share(summary.total),
            "verdicts": {verdict: self._share(time) for verdict, time in summary.verdicts.items()},
            "stages": {stage: self._share(time) for stage, time in summary.stages.items()},
            "hard": self._share(summary.hard),
        }
        return write_json(directory / self.FILE, content, finite=True)

    def _share(self, time: Time) -> dict[str, float]:
        return {**time._asdict(), "mean": time.mean, "share": time.samples / self.summary.total.samples}

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Reads the file of a directory; earlier versions wrote neither certifiers nor errors.

        Raises:
            Exception: One of ``DAMAGE``: it is absent, or no such file.
        """
        content = json.loads((directory / cls.FILE).read_text())
        summary = Summary(
            **{name: _fraction(content[name]) for name in ACCURACY_METRICS},
            verdicts={verdict: _time(time) for verdict, time in content["verdicts"].items()},
            stages={stage: _time(time) for stage, time in content["stages"].items()},
            hard=_time(content["hard"]),
            total=_time(content["total"]),
        )
        read = cls(
            content["checkpoint"],
            content["network"],
            content["options"],
            content["fingerprint"],
            int(content["missing"]),
            summary,
            {name: _interval(content["intervals"][f"{name}_accuracy"]) for name in ACCURACIES},
            content.get("certifiers", ()),
            {int(index): reason for index, reason in content.get("errors", {}).items()},
        )
        _ = read.dataset, read.epsilon  # which readers rely on
        return read


def _fraction(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"an accuracy is {value}")
    return float(value)


def _interval(value: list[float]) -> tuple[float, float]:
    low, high = map(_fraction, value)
    return low, high


def _time(content: Mapping[str, Any]) -> Time:
    return Time(int(content["samples"]), float(content["seconds"]), float(content["longest"]))
