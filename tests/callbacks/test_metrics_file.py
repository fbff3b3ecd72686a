"""Every run has its metrics beside its checkpoints."""

import csv
from pathlib import Path

import pytest
from common.runs import TINY

from gls_lightning.main import main

ELSEWHERE = ["--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=logs", "--checkpoint.dirpath=run"]

pytestmark = pytest.mark.usefixtures("clean_place")


def epochs(path: Path) -> list[str]:
    with path.open() as stream:
        return [row["epoch"] for row in csv.DictReader(stream) if row["val/certified_accuracy"]]


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_run_in_the_directory_of_another_part(goes_on: bool, recwarn: pytest.WarningsRecorder) -> None:
    last = ["--latest.dirpath=run", "--latest.every_n_epochs=1"]
    main(["fit", "--config", TINY, *ELSEWHERE, *last, "--trainer.max_epochs=1"])
    resumed = ["--trainer.max_epochs=2", "--ckpt_path=run/last.ckpt"] if goes_on else []
    main(["fit", "--config", TINY, *ELSEWHERE, *last, *resumed])
    files = {path.name: epochs(path) for path in Path("run").glob("metrics*")}
    assert files == ({"metrics.csv": ["0", "1"]} if goes_on else {"metrics-1.csv": ["0"], "metrics.csv": ["0"]})
    assert not [warning for warning in recwarn if "will be deleted" in str(warning.message)]


def test_a_csv_logger_that_writes_elsewhere() -> None:
    main(["fit", "--config", TINY, "--checkpoint.dirpath=run", "--trainer.max_epochs=1"])
    (log,) = Path("runs").rglob("metrics.csv")
    assert Path("run/metrics.csv").read_text() == log.read_text()


def test_a_csv_logger_that_writes_there() -> None:
    main(["fit", "--config", TINY, "--trainer.max_epochs=1"])
    (log,) = Path().rglob("metrics*.csv")
    assert epochs(log) == ["0"]


def test_a_trial_run_leaves_nothing() -> None:
    main(["fit", "--config", TINY, "--trainer.fast_dev_run=true"])
    assert not list(Path().rglob("metrics.csv"))
