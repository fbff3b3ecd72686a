"""What is left of a run that was refused before its first step."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import CSVLogger

from gls_lightning.callbacks.refused_run import RefusedRun
from gls_lightning.errors import ConfigurationError


def left(top: Path, exception: BaseException, *files: str, step: int = 0) -> list[str]:
    """The names of what is left of a run with these files."""
    logger = CSVLogger(top / "runs", name="tiny", version=0)
    directory = Path(logger.log_dir)
    directory.mkdir(parents=True)
    for name in files:
        (directory / name).touch()
    trainer: Any = SimpleNamespace(is_global_zero=True, global_step=step, loggers=[logger])
    RefusedRun().on_exception(trainer, trainer, exception)
    return sorted(path.name for path in top.rglob("*") if path.is_file() or not any(path.iterdir()))


@pytest.mark.parametrize("exception", [ConfigurationError("bad"), MisconfigurationException("bad")])
@pytest.mark.parametrize("files", [[], ["config.yaml"], ["config.yaml", "hparams.yaml"]])
def test_nothing(tmp_path: Path, exception: Exception, files: list[str]) -> None:
    assert left(tmp_path, exception, *files) == []


def test_all_where_there_is_more(tmp_path: Path) -> None:
    files = ["config.yaml", "metrics.csv"]
    assert left(tmp_path, ConfigurationError("bad"), *files) == files


def test_all_after_the_first_step(tmp_path: Path) -> None:
    assert left(tmp_path, ConfigurationError("bad"), "config.yaml", step=1) == ["config.yaml"]


def test_all_after_a_defect(tmp_path: Path) -> None:
    assert left(tmp_path, RuntimeError("defect"), "config.yaml") == ["config.yaml"]


def test_other_runs(tmp_path: Path) -> None:
    (tmp_path / "runs/tiny/version_1").mkdir(parents=True)
    assert left(tmp_path, ConfigurationError("bad"), "config.yaml") == ["version_1"]
