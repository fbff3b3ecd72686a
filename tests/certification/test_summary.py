from collections.abc import Mapping

import pytest

from gls_lightning.certification import Record, Verdict, summarise
from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import Share


def record(verdict: Verdict, prediction: int | None = 1) -> Record:
    return Record(index=0, label=1, prediction=prediction, verdict=verdict, stage=None, margin=None, seconds=0.1)


def times(shares: Mapping[str, Share]) -> dict[str, tuple[int, float, float]]:
    return {name: (of.samples, of.seconds, of.longest) for name, of in shares.items()}


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


def test_where_the_time_went():
    records = [
        Record(0, 1, 0, Verdict.MISCLASSIFIED, "natural", -1.0, 0.5),
        Record(1, 1, 1, Verdict.FALSIFIED, "PGD", -1.0, 1.0),
        Record(2, 1, 1, Verdict.CERTIFIED, "IBP", 1.0, 2.0),
        Record(3, 1, 1, Verdict.CERTIFIED, "IBP", 1.0, 3.0),
        Record(4, 1, 1, Verdict.FALSIFIED, "BranchAndBound", -1.0, 10.0, subdomains=5),
        Record(5, 1, 1, Verdict.CERTIFIED, "BranchAndBound", 1.0, 30.0, subdomains=1),
        Record(6, 1, 1, Verdict.UNKNOWN, None, -1.0, 50.0, subdomains=9),
        Record(7, 1, 1, Verdict.UNKNOWN, None, None, 6.0),
        Record(8, 1, None, Verdict.ERROR, "IBP", None, 0.25),
    ]
    summary = summarise(records)
    assert times(summary.stages) == {
        "IBP": (2, 5, 3),
        "BranchAndBound": (2, 40, 30),
        "natural": (1, 0.5, 0.5),
        "PGD": (1, 1, 1),
    }
    assert list(summary.stages)[:2] == ["IBP", "BranchAndBound"]
    assert times(summary.verdicts) == {
        "certified": (3, 35, 30),
        "falsified": (2, 11, 10),
        "unknown": (2, 56, 50),
        "misclassified": (1, 0.5, 0.5),
        "error": (1, 0.25, 0.25),
    }
    assert summary.decisions == {
        "certified": {"IBP": [2.0, 3.0], "BranchAndBound": [30.0]},
        "falsified": {"PGD": [1.0], "BranchAndBound": [10.0]},
        "misclassified": {"natural": [0.5]},
    }
    assert summary.hard == Share(4, 96, 50, mean=24, share=4 / 9)
    assert summary.total == Share(9, 102.75, 50, mean=pytest.approx(102.75 / 9), share=1)
    assert Share(0, 0, 0, mean=0, share=0) in summarise(records[:1]).verdicts.values()


def test_no_record_is_refused():
    with pytest.raises(ConfigurationError, match="no certified sample"):
        summarise([])
