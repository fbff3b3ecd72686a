"""Accuracies from records."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gls_lightning.certification.clopper_pearson import clopper_pearson
from gls_lightning.certification.record import Record, Verdict
from gls_lightning.errors import ConfigurationError


class Time(NamedTuple):
    """What some of the samples took.

    Attributes:
        samples: How many they are.
        seconds: Time spent on them.
        longest: Time spent on one of them at most, in seconds.
    """

    samples: int
    seconds: float
    longest: float

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Time":
        """The time of these records; all 0 if there are none."""
        seconds = [record.seconds for record in records]
        return cls(len(seconds), sum(seconds), max(seconds, default=0.0))

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
    verdicts: Mapping[Verdict, Time]
    stages: Mapping[str, Time]
    hard: Time
    total: Time

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % Clopper-Pearson intervals of the accuracies, by their names."""
        samples = self.total.samples
        names = ("natural_accuracy", "certified_accuracy", "adversarial_accuracy")
        return {name: clopper_pearson(round(getattr(self, name) * samples), samples) for name in names}


def summarise(records: Sequence[Record]) -> Summary:
    """Counts the records.

    Raises:
        ConfigurationError: If there are none.
    """
    if not records:
        raise ConfigurationError("there is no certified sample to summarise; certify at least 1")
    natural = sum(record.prediction == record.label for record in records)
    verdicts = {verdict: Time.of(r for r in records if r.verdict is verdict) for verdict in Verdict}
    decided = [record for record in records if record.verdict.decided]
    stages = {name: Time.of(r for r in decided if r.stage == name) for name in {r.stage: None for r in decided} if name}
    return Summary(
        natural_accuracy=natural / len(records),
        certified_accuracy=verdicts[Verdict.CERTIFIED].samples / len(records),
        adversarial_accuracy=(natural - verdicts[Verdict.FALSIFIED].samples) / len(records),
        verdicts=verdicts,
        stages=dict(sorted(stages.items(), key=lambda stage: -stage[1].samples)),
        hard=Time.of(r for r in records if r.subdomains or r.verdict is Verdict.UNKNOWN),
        total=Time.of(records),
    )
