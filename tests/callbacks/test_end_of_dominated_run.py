"""The end of runs that other points dominate."""

import csv
from pathlib import Path

import pytest
from common.runs import STANDARD, TINY

from gls_lightning.main import main

CALLBACK = "--trainer.callbacks"


@pytest.fixture(autouse=True)
def place(clean_place: None) -> None:
    """Runs lie in a folder of the test."""


def train(front: str, *words: str) -> Path:
    """Trains for at most five epochs, of which the first two have a smaller radius; the directory of the run."""
    epochs = ("--data.validation_size=50", "--trainer.max_epochs=5", "--epsilon_annealing.end_epoch=2")
    end = (f"{CALLBACK}+=EndOfDominatedRun", f"{CALLBACK}.front={front}", f"{CALLBACK}.margin=0.01")
    main(["fit", "--config", TINY, *STANDARD, *epochs, *end, *words])
    return Path("runs/tiny/version_0")


@pytest.mark.parametrize(
    ("front", "patience", "epochs"),
    [
        ("[[1.0, 1.0]]", 0, 3),  # the first with the whole radius
        ("[[1.0, 1.0]]", 0.5, 4),  # half of three, rounded up
        ("[[1.0, 1.0]]", 1, 5),  # a whole run is not ended early
        ("[[1.0, 0.0], [0.0, 1.0]]", 0, 5),  # neither is better in both
    ],
)
def test_only_dominated_runs_end_early_and_after_a_share_of_the_epochs(
    front: str, patience: float, epochs: int
) -> None:
    run = train(front, f"{CALLBACK}.patience={patience}")
    with (run / "metrics.csv").open() as lines:
        assert max(int(row["epoch"]) for row in csv.DictReader(lines)) == epochs - 1
    assert (run / "pruned.txt").is_file() == (epochs < 5)


def test_a_share_of_endless_training(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train("[]", "--trainer.max_epochs=-1", "--trainer.max_time=00:00:01:00")
    assert "patience is 0.5, a share of the epochs, but training has no last epoch" in capsys.readouterr().err
