"""Accuracies from records."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gls_lightning.certification._clopper_pearson import clopper_pearson
from gls_lightning.certification.record import Record, Verdict
from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import ACCURACY_METRICS, Share


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
        decisions: Seconds of each decided sample, increasing, by its verdict and by the stage that decided it.
    """

    natural_accuracy: float
    certified_accuracy: float
    adversarial_accuracy: float
    verdicts: Mapping[str, Share]
    stages: Mapping[str, Share]
    hard: Share
    total: Share
    decisions: Mapping[str, Mapping[str, Sequence[float]]]

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % Clopper-Pearson intervals of the accuracies, by their names."""
        samples = self.total.samples
        return {name: clopper_pearson(round(getattr(self, name) * samples), samples) for name in ACCURACY_METRICS}


def summarise(records: Sequence[Record]) -> Summary:
    """Counts the records.

    Raises:
        ConfigurationError: If there are none.
    """
    if not records:
        raise ConfigurationError("there is no certified sample to summarise; certify at least 1")
    share = partial(_share, whole=len(records))
    natural = sum(record.prediction == record.label for record in records)
    verdicts = {verdict.value: share(r for r in records if r.verdict is verdict) for verdict in Verdict}
    decided = [record for record in records if record.verdict.decided]
    stages = {name: share(r for r in decided if r.stage == name) for name in {r.stage: None for r in decided} if name}
    return Summary(
        natural_accuracy=natural / len(records),
        certified_accuracy=verdicts[Verdict.CERTIFIED].samples / len(records),
        adversarial_accuracy=(natural - verdicts[Verdict.FALSIFIED].samples) / len(records),
        verdicts=verdicts,
        stages=dict(sorted(stages.items(), key=lambda stage: -stage[1].samples)),
        hard=share(r for r in records if r.subdomains or r.verdict is Verdict.UNKNOWN),
        total=share(records),
        decisions={verdict.value: _times(records, verdict) for verdict in Verdict if verdict.decided},
    )


def _times(records: Iterable[Record], verdict: Verdict) -> dict[str, list[float]]:
    """Returns the seconds of the samples with a verdict, increasing, by the stage."""
    times: dict[str, list[float]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.seconds):
        if record.verdict is verdict:
            times[str(record.stage)].append(record.seconds)
    return dict(times)


def _share(records: Iterable[Record], whole: int) -> Share:
    seconds = [record.seconds for record in records]
    samples, total, longest = len(seconds), sum(seconds), max(seconds, default=0.0)
    return Share(samples, total, longest, mean=total / max(samples, 1), share=samples / whole)
