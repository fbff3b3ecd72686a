"""Files with results say when they are read what was written."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gls_lightning.run_files import (
    ACCURACIES,
    DAMAGE,
    CertificationSummary,
    EvaluatedMetrics,
    LandscapeDescription,
    RelaxationCurve,
    Summary,
    TightnessCurves,
    Time,
)

names, counts, seconds = st.text(max_size=5), st.integers(0, 10**6), st.floats(0, 1e9)
fractions = st.floats(0, 1)
plain = st.none() | st.booleans() | counts | seconds | names
options = st.dictionaries(names, plain, max_size=3)
about = {"checkpoint": st.none() | st.text(min_size=1, max_size=5), "network": names, "data": names}
times = st.builds(Time, counts, seconds, seconds)

summaries = st.builds(
    CertificationSummary,
    checkpoint=about["checkpoint"],
    network=names,
    options=options,
    fingerprint=options.flatmap(
        lambda others: st.builds(lambda name, epsilon: {**others, "dataset": name, "epsilon": epsilon}, names, seconds)
    ),
    missing=counts,
    summary=st.builds(
        Summary,
        fractions,
        fractions,
        fractions,
        verdicts=st.dictionaries(names, times, max_size=3),
        stages=st.dictionaries(names, times, max_size=3),
        hard=times,
        total=times.filter(lambda time: time.samples > 0),
    ),
    intervals=st.fixed_dictionaries({name: st.tuples(fractions, fractions) for name in ACCURACIES}),
    certifiers=st.lists(options, max_size=2),
    errors=st.dictionaries(counts, st.none() | names, max_size=3),
)
metrics = st.builds(
    EvaluatedMetrics,
    **about,
    epsilon=fractions,
    samples=st.none() | counts,
    metrics=st.dictionaries(names, st.none() | seconds, max_size=3),
)
curves = st.integers(2, 4).flatmap(
    lambda size: st.builds(
        TightnessCurves,
        **about,
        epsilon=fractions,
        precision=names,
        samples=counts,
        radii=st.tuples(*[fractions] * size),
        relaxations=st.dictionaries(
            names,
            st.builds(RelaxationCurve, names, options, fractions, st.tuples(*[fractions] * size), counts),
            max_size=3,
        ),
    )
)
descriptions = st.builds(
    LandscapeDescription,
    names,
    st.dictionaries(names.filter(lambda name: name not in ("title", "axes", "lengths")), plain, max_size=3),
    st.tuples(names, names),
    st.tuples(seconds, seconds),
)


@given(st.one_of(summaries, metrics, curves, descriptions))
def test_what_is_read_is_what_was_written(tmp_path_factory: pytest.TempPathFactory, result: Any) -> None:
    directory = tmp_path_factory.mktemp("results") / "new/place"
    path = result.write(directory)
    assert path == directory / result.FILE
    of_directories = isinstance(result, CertificationSummary | LandscapeDescription)
    assert type(result).read(directory if of_directories else path) == result


@given(summaries)
def test_shares_of_time_are_those_of_the_records(
    tmp_path_factory: pytest.TempPathFactory, content: CertificationSummary
) -> None:
    written = json.loads(content.write(tmp_path_factory.mktemp("results")).read_text())
    total = content.summary.total
    for verdict, time in content.summary.verdicts.items():
        mean = time.seconds / time.samples if time.samples else time.seconds
        expected = {**time._asdict(), "mean": mean, "share": time.samples / total.samples}
        assert written["verdicts"][verdict] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"natural_accuracy": 1.5}, "an accuracy is 1.5"),
        ({"intervals": {f"{name}_accuracy": [0, -1] for name in ACCURACIES}}, "an accuracy is -1"),
        ({"fingerprint": {"epsilon": 0.1}}, "dataset"),
        ({"total": {"samples": 3, "seconds": None, "longest": 1}}, "NoneType"),
    ],
)
@given(content=summaries)
def test_a_summary_that_says_something_else(
    tmp_path_factory: pytest.TempPathFactory, content: CertificationSummary, change: dict[str, Any], message: str
) -> None:
    path = content.write(tmp_path_factory.mktemp("results"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DAMAGE, match=message):
        CertificationSummary.read(path.parent)


def test_a_summary_of_an_earlier_version(tmp_path: Path) -> None:
    """Which names neither certifiers nor errors."""
    share = {"samples": 2, "seconds": 3.0, "mean": 1.5, "longest": 2.0, "share": 1.0}
    content = {
        "checkpoint": None,
        "network": "CNN3",
        "options": {},
        "fingerprint": {"dataset": "MNIST", "epsilon": 0.1},
        "missing": 0,
        **{f"{name}_accuracy": 0.5 for name in ACCURACIES},
        "intervals": {f"{name}_accuracy": [0.1, 0.9] for name in ACCURACIES},
        **{"total": share, "verdicts": {"certified": share}, "stages": {}, "hard": share},
    }
    (tmp_path / "summary.json").write_text(json.dumps(content))
    read = CertificationSummary.read(tmp_path)
    assert (read.dataset, read.epsilon, read.certifiers, read.errors) == ("MNIST", 0.1, (), {})
    assert read.summary.verdicts == {"certified": (2, 3.0, 2.0)}


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        EvaluatedMetrics(None, "CNN3", "MNIST", 0.1, 5, {"test/loss": float("nan")}).write(tmp_path / "new")
    assert not (tmp_path / "new").exists()
