import csv
from pathlib import Path

import pytest
from common.runs import TINY

from gls_lightning.main import main


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def validated_epochs(callback: str, *words: str) -> list[int]:
    """The epochs of a run of at most eight that learns nothing, so that its metrics never improve."""
    nothing_learnt = ["--model.optimizer=SGD", "--model.optimizer.lr=0", "--model.attack.steps=1"]
    stopping = [f"--trainer.callbacks+={callback}", "--trainer.callbacks.patience=2"]
    main(["fit", "--config", TINY, "--trainer.max_epochs=8", *nothing_learnt, *stopping, *words])
    (metrics,) = Path("runs").rglob("metrics.csv")
    with metrics.open() as lines:
        return [int(row["epoch"]) for row in csv.DictReader(lines) if row["val/certified_accuracy"]]


def test_waits_for_the_end_of_the_ramp() -> None:
    """The value of epoch 3 is the first that counts, those of 4 and 5 are no better."""
    assert validated_epochs("EarlyStoppingAfterRamp", "--epsilon_annealing.end_epoch=3") == [0, 1, 2, 3, 4, 5]


def test_lightnings_own_would_end_the_same_run_during_the_ramp() -> None:
    metric = ["--trainer.callbacks.monitor=val/certified_accuracy", "--trainer.callbacks.mode=max"]
    assert validated_epochs("EarlyStopping", "--epsilon_annealing.end_epoch=3", *metric) == [0, 1, 2]


def test_without_a_ramp_every_validation_counts() -> None:
    assert validated_epochs("EarlyStoppingAfterRamp") == [0, 1, 2]


def test_validations_within_an_epoch_count_from_the_same_epoch_on() -> None:
    """Two validations in each epoch: the second of epoch 1 and the first of epoch 2 are no better than its first."""
    options = ["--epsilon_annealing.end_epoch=1", "--trainer.val_check_interval=0.5"]
    assert validated_epochs("EarlyStoppingAfterRamp", *options) == [0, 0, 1, 1, 2]


def test_a_resumed_run_ends_where_the_uninterrupted_one_does() -> None:
    options = ["--epsilon_annealing.end_epoch=1", "--trainer.max_epochs=3"]
    assert validated_epochs("EarlyStoppingAfterRamp", *options) == [0, 1, 2]
    main(["fit", "--ckpt_path", "runs/tiny/version_0/checkpoints/last.ckpt", "--trainer.max_epochs=8"])
    with Path("runs/tiny/version_0/metrics.csv").open() as lines:
        assert {row["epoch"] for row in csv.DictReader(lines)} == {"0", "1", "2", "3"}


def test_the_ways_to_count_are_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--config", TINY, "--trainer.callbacks+=EarlyStoppingAfterRamp", "--trainer.callbacks.mode=most"])
    assert "most" in capsys.readouterr().err
