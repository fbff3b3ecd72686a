"""Certified accuracy over the time for each image, from any records, shared and repeated in any way."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from gls_lightning.certification import Record, Verdict, errors_of, summarise
from gls_lightning.certification.record_directory import merge
from gls_lightning.run_files import AccuracyOverBudget, CertificationSummary

STAGES = {
    Verdict.CERTIFIED: ("IBP", "CROWNIBP", "DeepPoly", "AlphaCROWN", "BranchAndBound"),
    Verdict.FALSIFIED: ("PGD", "BranchAndBound"),
    Verdict.MISCLASSIFIED: ("natural",),
    Verdict.UNKNOWN: (None,),
    Verdict.ERROR: ("IBP", None),
}
seconds = st.sampled_from([0.0, 0.125, 1.0, 7.0]) | st.floats(0, 1e4)
"""Few values, so that there are ties, and any others."""


@st.composite
def records(draw: st.DrawFn) -> Record:
    verdict = draw(st.sampled_from(Verdict))
    prediction = 0 if verdict is Verdict.MISCLASSIFIED else 1
    index, stage = draw(st.integers(0, 12)), draw(st.sampled_from(STAGES[verdict]))
    return Record(index, 1, prediction, verdict, stage, None, draw(seconds))


files = st.dictionaries(st.sampled_from("abc"), st.lists(records(), min_size=1, max_size=12), min_size=1)
"""Files of several processes, some of which tried the same images again."""


@given(files, st.lists(st.floats(0, 2e4), min_size=2, max_size=6).map(sorted))
def test_the_accuracies_that_a_limit_of_the_time_would_give(
    found: dict[str, list[Record]], limits: list[float]
) -> None:
    merged = list(merge(found)[0].values())
    summary = summarise(merged)
    content = CertificationSummary(
        **{"checkpoint": None, "network": "CNN3", "options": {}, "fingerprint": {"dataset": "MNIST", "epsilon": 0.1}},
        **{"missing": 0, "errors": errors_of(merged), "intervals": summary.intervals},
        **vars(summary),
    )
    with TemporaryDirectory() as folder:
        budget = CertificationSummary.read(content.write(Path(folder))).over_budget
    assert budget is not None
    of_all = len(merged)
    for limit in (*limits, *budget.moments):
        in_time = [record for record in merged if record.seconds <= limit]
        assert budget.certified(limit) == sum(record.verdict is Verdict.CERTIFIED for record in in_time) / of_all
        assert budget.open(limit) == (of_all - sum(record.verdict.decided for record in in_time)) / of_all
        assert 0 <= budget.certified(limit) <= summary.certified_accuracy
        assert summary.certified_accuracy <= budget.certified(limit) + budget.open(limit) <= 1
    certified = [budget.certified(limit) for limit in limits]
    assert certified == sorted(certified)
    assert budget.certified() == summary.certified_accuracy
    undecided = summary.verdicts["unknown"].samples + summary.verdicts["error"].samples
    assert budget.open() == undecided / of_all
    one_pass = [
        record for record in merged if record.verdict is Verdict.CERTIFIED and str(record.stage) in budget.passes
    ]
    assert budget.one_pass == len(one_pass) / of_all
    assert {"AlphaCROWN", "BranchAndBound"}.isdisjoint(budget.passes)


def test_one_pass_counts_no_search() -> None:
    proofs = {"DeepPoly": [0.1], "BranchAndBound": [0.05], "IBP": [0.01, 0.02], "AlphaCROWN": [0.2]}
    budget = AccuracyOverBudget(10, proofs, {})
    assert budget.passes == ["IBP", "DeepPoly"]
    assert budget.one_pass == 0.3
