"""Lightning's sparse ``metrics.csv``, whole and damaged."""

import math
from pathlib import Path

import pytest

from gls_lightning.reports._metric_table import MetricTable, read_metrics

HEADER = "epoch,sigma,step,train/loss,val/certified_accuracy,val/natural_accuracy"
LINES = ["0,0.2,0,3,,", "0,0.1,1,1,,", "0,,1,,0.25,0.5", "1,0.1,2,nan,,", "1,,2,,nan,0.75"]


def read(folder: Path, *lines: str, end: str = "\r\n") -> MetricTable:
    path = folder / "metrics.csv"
    path.write_bytes(("\r\n".join(lines) + end).encode())
    return read_metrics(folder)


def test_means_of_training_and_last_values_of_all_else(tmp_path: Path) -> None:
    table = read(tmp_path, HEADER, *LINES)
    assert table.notes == []
    assert table.curve("train/loss")[0] == 2
    assert table.curve("sigma") == {0: 0.1, 1: 0.1}
    assert table.curve("val/natural_accuracy") == {0: 0.5, 1: 0.75}
    assert table.curve("epsilon") == {}
    assert table.epochs == 2


def test_a_run_that_went_on_is_one_table(tmp_path: Path) -> None:
    for number, value in ((2, 0.5), (10, 0.6)):
        (tmp_path / f"metrics-{number}.csv").write_text(f"epoch,val/natural_accuracy\r\n0,{value}\r\n")
    table = read(tmp_path, "epoch,val/natural_accuracy", "1,0.75")
    assert table.curve("val/natural_accuracy") == {0: 0.6, 1: 0.75}
    (tmp_path / "metrics.csv").unlink()
    assert read_metrics(tmp_path).curve("val/natural_accuracy") == {0: 0.6}


def test_what_is_not_finite_stays_a_gap_and_is_named(tmp_path: Path) -> None:
    table = read(tmp_path, HEADER, *LINES, "2,,3,inf,,", "2,,3,-inf,,")
    assert [epoch for epoch, value in table.curve("train/loss").items() if math.isnan(value)] == [1, 2]
    assert table.not_finite() == {"train/loss": [1, 2], "val/certified_accuracy": [1]}
    assert table.last_validation() == (1, {"natural": 0.75})


def test_a_last_line_without_its_end_is_left_out(tmp_path: Path) -> None:
    table = read(tmp_path, HEADER, *LINES[:3], "1,,2,,0.5,0.7", end="")
    assert table.curve("val/natural_accuracy") == {0: 0.5}
    assert table.notes == ["the last line of metrics.csv is incomplete and left out"]


@pytest.mark.parametrize("bad", ["1,0.1", "1,word,2,,,", ",0.1,2,,,", "\x00\ufffd", "nan,,,,,", "1,2,3,4,5,6,7"])
def test_a_damaged_line_is_left_out(tmp_path: Path, bad: str) -> None:
    table = read(tmp_path, HEADER, LINES[0], bad, *LINES[1:3])
    assert table.values == read(tmp_path, HEADER, *LINES[:3]).values
    assert table.notes == ["1 of 4 lines of metrics.csv cannot be read and are left out"]


@pytest.mark.parametrize(
    ("text", "note"), [("", "no column epoch"), ("a,b\n1,2\n", "no column epoch"), ("epoch", "inc")]
)
def test_a_file_without_epochs(tmp_path: Path, text: str, note: str) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    table = read_metrics(tmp_path)
    assert table.values == {}
    assert note in table.notes[0]


def test_no_file(tmp_path: Path) -> None:
    table = read_metrics(tmp_path)
    assert table.last_validation() == (None, {})
    assert "there is no metrics.csv" in table.notes[0]
