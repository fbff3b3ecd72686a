"""Files with results say when they are read what was written."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gls_lightning.run_files import (
    ACCURACIES,
    ACCURACY_METRICS,
    DAMAGE,
    CertificationSummary,
    EvaluatedMetrics,
    LandscapeDescription,
    RelaxationCurve,
    Share,
    TightnessCurves,
)

names, counts, seconds = st.text(max_size=5), st.integers(0, 10**6), st.floats(0, 1e9)
fractions = st.floats(0, 1)
plain = st.none() | st.booleans() | counts | seconds | names
options = st.dictionaries(names, plain, max_size=3)
about = {"checkpoint": st.none() | st.text(min_size=1, max_size=5), "network": names, "data": names}
known = st.builds(lambda name, epsilon: {"dataset": name, "epsilon": epsilon}, names, seconds)
shares = st.builds(Share, counts, seconds, seconds, seconds, fractions)
by_name = st.dictionaries(names, shares, max_size=3)

summaries = st.builds(
    CertificationSummary,
    checkpoint=about["checkpoint"],
    network=names,
    options=options,
    certifiers=st.tuples() | st.tuples(options, options),
    fingerprint=st.builds(lambda others, known: others | known, options, known),
    missing=counts,
    errors=st.dictionaries(counts, st.none() | names, max_size=3),
    **dict.fromkeys(ACCURACY_METRICS, fractions),
    intervals=st.fixed_dictionaries(dict.fromkeys(ACCURACY_METRICS, st.tuples(fractions, fractions))),
    total=shares,
    verdicts=by_name,
    stages=by_name,
    hard=shares,
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
    assert type(result).read(path) == result


SHARE = {"samples": 2, "seconds": 3.0, "longest": 2.0, "mean": 1.5, "share": 1.0}
SUMMARY = {
    "checkpoint": None,
    "network": "CNN3",
    "options": {},
    "fingerprint": {"dataset": "MNIST", "epsilon": 0.1},
    "missing": 0,
    **dict.fromkeys(ACCURACY_METRICS, 0.5),
    "intervals": dict.fromkeys(ACCURACY_METRICS, (0.1, 0.9)),
    **{"total": SHARE, "verdicts": {"certified": SHARE}, "stages": {}, "hard": SHARE},
}
"""Content of a file of the first version, which names neither certifiers nor errors."""


def read_summary(folder: Path, content: dict[str, Any]) -> CertificationSummary:
    path = folder / "summary.json"
    path.write_text(json.dumps(content))
    return CertificationSummary.read(path)


def test_a_summary_of_the_first_version(tmp_path: Path) -> None:
    read = read_summary(tmp_path, SUMMARY)
    assert (read.dataset, read.epsilon, read.certifiers, read.errors) == ("MNIST", 0.1, (), {})
    assert read.verdicts == {"certified": Share(2, 3.0, 2.0, 1.5, 1.0)}
    assert read.accuracies == dict.fromkeys(ACCURACIES, 0.5)
    assert read.interval("natural") == (0.1, 0.9)
    assert read.over_budget is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"natural_accuracy": 1.5}, "an accuracy is 1.5"),
        ({"intervals": dict.fromkeys(ACCURACY_METRICS, (0, -1))}, "an accuracy is -1"),
        ({"intervals": dict.fromkeys(ACCURACY_METRICS, (0,))}, "not enough values"),
        ({"fingerprint": {"epsilon": 0.1}}, "dataset"),
        ({"total": SHARE | {"seconds": None}}, "NoneType"),
        ({"hard": []}, "list indices"),
        ({"decisions": {"certified": {"IBP": [1.0]}}}, "1 times of 2 certified images"),
        ({"decisions": {"certified": {"IBP": [1.0, float("nan")]}}}, "is no number of seconds"),
    ],
)
def test_a_summary_that_says_something_else(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DAMAGE, match=message):
        read_summary(tmp_path, SUMMARY | change)


def test_curves_with_another_number_of_radii(tmp_path: Path) -> None:
    curve = RelaxationCurve("IBP", {}, 0.5, (0.5, 0.5), 0)
    path = TightnessCurves(None, "CNN3", "MNIST", 0.1, "float64", 3, (0.0, 0.1), {"IBP": curve}).write(tmp_path)
    path.write_text(path.read_text().replace('"radii": [', '"radii": [1,'))
    with pytest.raises(DAMAGE, match="IBP has 2 accuracies at 3 radii"):
        TightnessCurves.read(path)


def test_the_example_of_the_documentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "docs/runs.md").read_text()
    (code,) = (
        block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "CertificationSummary" in block
    )
    folder = tmp_path / "runs/a/certification/last"
    folder.mkdir(parents=True)
    read_summary(folder, SUMMARY)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out == "runs/a/certification/last: 50.00% of 2, 10.00% to 90.00%\n"


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="is no value of JSON"):
        LandscapeDescription("A title", {"noise": Path("a")}, (), ()).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        EvaluatedMetrics(None, "CNN3", "MNIST", 0.1, 5, {"test/loss": float("nan")}).write(tmp_path / "new")
    assert not (tmp_path / "new").exists()
