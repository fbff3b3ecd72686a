"""Accuracies from records."""

from collections.abc import Iterable, Sequence

from gls_lightning.certification.clopper_pearson import clopper_pearson
from gls_lightning.certification.record import Record, Verdict
from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import Summary, Time


def accuracy_intervals(summary: Summary) -> dict[str, tuple[float, float]]:
    """Returns the 95 % Clopper-Pearson intervals of the accuracies, by their short names."""
    samples = summary.total.samples
    return {name: clopper_pearson(round(value * samples), samples) for name, value in summary.accuracies.items()}


def summarise(records: Sequence[Record]) -> Summary:
    """Counts the records.

    Raises:
        ConfigurationError: If there are none.
    """
    if not records:
        raise ConfigurationError("there is no certified sample to summarise; certify at least 1")
    natural = sum(record.prediction == record.label for record in records)
    verdicts: dict[str, Time] = {verdict: _time(r for r in records if r.verdict is verdict) for verdict in Verdict}
    decided = [record for record in records if record.verdict.decided]
    stages = {name: _time(r for r in decided if r.stage == name) for name in {r.stage: None for r in decided} if name}
    return Summary(
        natural_accuracy=natural / len(records),
        certified_accuracy=verdicts[Verdict.CERTIFIED].samples / len(records),
        adversarial_accuracy=(natural - verdicts[Verdict.FALSIFIED].samples) / len(records),
        verdicts=verdicts,
        stages=dict(sorted(stages.items(), key=lambda stage: -stage[1].samples)),
        hard=_time(r for r in records if r.subdomains or r.verdict is Verdict.UNKNOWN),
        total=_time(records),
    )


def _time(records: Iterable[Record]) -> Time:
    """Returns the time of these records; all 0 if there are none."""
    seconds = [record.seconds for record in records]
    return Time(len(seconds), sum(seconds), max(seconds, default=0.0))
