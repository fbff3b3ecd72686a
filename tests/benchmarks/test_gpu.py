"""The benchmark for GPUs, at the small sizes that it takes on a CPU."""

import json
import sys
from pathlib import Path

import pytest


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import gpu

    yield gpu
    del sys.modules["gpu"]


def test_it_checks_gradients_and_times_a_row(gpu, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--rows", "CNN3 IBP", "--seconds_per_variant", "0.01"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [line["right"] for line in lines if "check" in line] == [True] * len(gpu.CHECKS)
    assert [line["row"] for line in lines if "row" in line] == ["CNN3 IBP"]
    assert [line["capture"] for line in lines if "fit" in line] == ["auto", False]
    assert all(line["steps_a_second"] > 0 for line in lines if "fit" in line)


def test_a_wrong_gradient_is_noticed(gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gpu.LIMITS, "float32", 1e-9)
    assert not gpu.check("IBP", "CNN3Tiny")


def test_a_row_that_fails_says_why(gpu, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("out of memory\nmore")

    monkeypatch.setattr(gpu, "timed", fail)
    gpu.measure(gpu.ROWS[0], 0.01)
    assert json.loads(capsys.readouterr().out)["plain_failed"] == "out of memory"
