"""Files of ``gls certify``: records, and ``summary.json``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from gls_lightning.run_files.accuracies import ACCURACIES
from gls_lightning.run_files.accuracy_over_budget import AccuracyOverBudget
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
    decisions: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks what readers rely on."""
        for name, accuracy in self.accuracies.items():
            low, high = self.interval(name)
            for value in (accuracy, low, high):
                if not 0 <= value <= 1:
                    raise ValueError(f"an accuracy is {value}")
        _ = self.dataset, self.epsilon
        for verdict, stages in self.decisions.items():
            seconds = [moment for times in stages.values() for moment in times]
            if not all(0 <= moment < math.inf for moment in seconds):
                raise ValueError(f"the time of a {verdict} image is no number of seconds")
            if len(seconds) != self.verdicts[verdict].samples:
                raise ValueError(f"{len(seconds)} times of {self.verdicts[verdict].samples} {verdict} images")

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

    @property
    def over_budget(self) -> AccuracyOverBudget | None:
        """The accuracies over the time for each image; None if an earlier version wrote the file, without times."""
        if not self.decisions:
            return None
        proofs = {stage: sorted(times) for stage, times in self.decisions["certified"].items()}
        refutations: dict[str, list[float]] = {}
        for verdict in ("falsified", "misclassified"):
            for stage, times in self.decisions[verdict].items():
                refutations[stage] = sorted([*refutations.get(stage, []), *times])
        return AccuracyOverBudget(self.total.samples, proofs, refutations)

    def interval(self, name: str) -> tuple[float, float]:
        """Returns the ends of the interval of an accuracy with this short name."""
        low, high = self.intervals[f"{name}_accuracy"]
        return low, high
