"""Accuracies from records."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gls_lightning.certification.record import Record, Verdict
from gls_lightning.errors import ConfigurationError


@dataclass(frozen=True)
class Summary:
    """Accuracies as certified training counts them: fractions of all samples.

    Attributes:
        samples: Number of samples.
        natural_accuracy: Classified correctly.
        certified_accuracy: Certified.
        adversarial_accuracy: Classified correctly and not falsified: an upper bound of the robust accuracy.
        verdicts: Number of samples with each verdict.
    """

    samples: int
    natural_accuracy: float
    certified_accuracy: float
    adversarial_accuracy: float
    verdicts: Mapping[Verdict, int]


def summarise(records: Sequence[Record]) -> Summary:
    """Counts the records.

    Raises:
        ConfigurationError: If there are none.
    """
    if not records:
        raise ConfigurationError("there is no certified sample to summarise; certify at least 1")
    verdicts = Counter(record.verdict for record in records)
    natural = sum(record.prediction == record.label for record in records)
    return Summary(
        samples=len(records),
        natural_accuracy=natural / len(records),
        certified_accuracy=verdicts[Verdict.CERTIFIED] / len(records),
        adversarial_accuracy=(natural - verdicts[Verdict.FALSIFIED]) / len(records),
        verdicts={verdict: verdicts[verdict] for verdict in Verdict},
    )
