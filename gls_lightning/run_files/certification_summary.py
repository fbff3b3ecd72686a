"""Files of ``gls certify``: records, and ``summary.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from gls_lightning.run_files.accuracies import ACCURACIES
from gls_lightning.run_files.result_file import ResultFile

RECORDS = "records-*.jsonl"
"""Pattern of the names of the files with records."""


@dataclass(frozen=True)
class Share:
    """Some of the samples.

    Attributes:
        samples: How many they are.
        seconds: Time spent on them.
        longest: Time spent on one of them at most, in seconds.
        mean: Seconds for each of them; 0 if there are none.
        share: Their fraction of all samples.
    """

    samples: int
    seconds: float
    longest: float
    mean: float
    share: float


@dataclass(frozen=True, kw_only=True)
class CertificationSummary(ResultFile):
    """Content of ``summary.json``: what a directory of records says, and what the records are of.

    Attributes:
        checkpoint: The file with the weights; None for those of the initialisation.
        network: Class of the network.
        options: Options of the command.
        certifiers: How the samples were certified: each way once.
        fingerprint: What the verdicts depend on; among it the data set and the radius.
        missing: How many samples were to be certified and have no record yet.
        errors: The reasons of the samples that are errors, by their indices.
        intervals: The 95 % Clopper-Pearson intervals of the accuracies, by the names of these.

    All other ones are those of ``gls_lightning.certification.Summary``.
    """

    DIRECTORY: ClassVar[str] = "certification"
    FILE: ClassVar[str] = "summary.json"

    checkpoint: str | None
    network: str
    options: Mapping[str, Any]
    certifiers: Sequence[Mapping[str, Any]] = ()
    fingerprint: Mapping[str, Any]
    missing: int
    errors: Mapping[int, str | None] = field(default_factory=dict)
    natural_accuracy: float
    certified_accuracy: float
    adversarial_accuracy: float
    intervals: Mapping[str, Sequence[float]]
    total: Share
    verdicts: Mapping[str, Share]
    stages: Mapping[str, Share]
    hard: Share

    def __post_init__(self) -> None:
        """Checks what readers rely on."""
        for name, accuracy in self.accuracies.items():
            low, high = self.interval(name)
            for value in (accuracy, low, high):
                if not 0 <= value <= 1:
                    raise ValueError(f"an accuracy is {value}")
        _ = self.dataset, self.epsilon

    @property
    def dataset(self) -> str:
        """The data set whose test images were certified."""
        return str(self.fingerprint["dataset"])

    @property
    def epsilon(self) -> float:
        """The radius."""
        return float(self.fingerprint["epsilon"])

    @property
    def accuracies(self) -> dict[str, float]:
        """The accuracies by their short names."""
        return {name: getattr(self, f"{name}_accuracy") for name in ACCURACIES}

    def interval(self, name: str) -> tuple[float, float]:
        """Returns the ends of the interval of an accuracy with this short name."""
        low, high = self.intervals[f"{name}_accuracy"]
        return low, high
