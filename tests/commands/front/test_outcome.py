"""The outcome of a search in files and on W&B."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from gls_lightning.commands.front.outcome import log_outcome, write_outcome
from gls_lightning.run_files import FrontFile, FrontPoint, FrontTrial

FRONT = FrontFile(
    "my.yaml",
    "tpe",
    [FrontTrial(0, {"lr": 0.1}, 0.9, 0.2, False), FrontTrial(2, {"lr": 0.2, "start": [1]}, 0.1, 0.1, True)],
    1,
    [FrontPoint(0, [1, 2], [0.8, 0.9], [0.1, 0.2], [0.7, 0.8], [0.1, 0.1])],
)


def test_weights_and_biases(wandb: ModuleType, finished_run: Callable[[Path], Any]) -> None:
    directory = Path("fronts/mine")
    directory.mkdir(parents=True)
    write_outcome(directory, FRONT)
    section = {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"project": "p", "save_dir": "."}}
    log_outcome(directory, FRONT, {"trainer": {"logger": [{"class_path": "CSVLogger"}, section]}})

    (files,) = Path("wandb").glob("offline-run-*/files")
    log = finished_run(files)
    pictures = {path.stem for path in directory.glob("front_figures/*.png")}
    assert len(pictures) == 2
    assert pictures | {"front"} <= {key.partition(".")[0] for key in log.last}
    assert len(list((files / "media/images").glob("*.png"))) == 2
    (table,) = (files / "media/table").glob("*.json")
    content = json.loads(table.read_text())
    with (directory / "front.csv").open() as lines:
        assert [content["columns"], *content["data"]] == list(csv.reader(lines))


def test_other_loggers_get_nothing(wandb: ModuleType) -> None:
    for logger in (None, True, {"class_path": "CSVLogger"}):
        log_outcome(Path(), FRONT, {"trainer": {"logger": logger}})
    assert not Path("wandb").exists()
