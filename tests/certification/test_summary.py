import pytest

from gls_lightning.certification import Record, Verdict, summarise
from gls_lightning.errors import ConfigurationError


def record(verdict: Verdict, prediction: int | None = 1) -> Record:
    return Record(index=0, label=1, prediction=prediction, verdict=verdict, stage=None, margin=None, seconds=0.1)


def test_counts_as_the_paper_does():
    records = [
        *[record(Verdict.CERTIFIED)] * 4,
        *[record(Verdict.FALSIFIED)] * 3,
        *[record(Verdict.UNKNOWN)] * 1,
        *[record(Verdict.MISCLASSIFIED, prediction=0)] * 10,
        record(Verdict.ERROR),
        record(Verdict.ERROR, prediction=None),
    ]
    summary = summarise(records)
    assert summary.total.samples == 20
    assert summary.natural_accuracy == pytest.approx(9 / 20)
    assert summary.certified_accuracy == pytest.approx(4 / 20)
    assert summary.adversarial_accuracy == pytest.approx(6 / 20)
    counts = {verdict: time.samples for verdict, time in summary.verdicts.items()}
    assert counts == {"certified": 4, "falsified": 3, "unknown": 1, "misclassified": 10, "error": 2}


def test_no_record_is_refused():
    with pytest.raises(ConfigurationError, match="no certified sample"):
        summarise([])
