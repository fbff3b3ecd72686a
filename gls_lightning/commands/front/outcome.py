"""Files with the outcome of a search, and its way to Weights & Biases."""

import csv
import json
from collections.abc import Mapping, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from gls_lightning.commands.front.search_study import CHOSEN, PRUNED, SearchStudy
from gls_lightning.reports import front_section, write_report
from gls_lightning.run_files import FrontFile, FrontPoint, FrontTrial, write_whole

PAGE, TABLE = "front.html", "front.csv"


def front_file(study: SearchStudy, config: str, sampler: str, points: Sequence[FrontPoint]) -> FrontFile:
    """Gathers what a search found."""
    trials = [
        FrontTrial(of.number, of.user_attrs[CHOSEN], of.values[0], of.values[1], of.user_attrs.get(PRUNED, False))
        for of in study.completed()
    ]
    return FrontFile(config, sampler, trials, study.failures(), points)


def write_outcome(directory: Path, front: FrontFile) -> list[Path]:
    """Writes ``front.json``, a page, the same as Markdown with pictures, and all trials as a table.

    Returns:
        The files.
    """
    table = directory / TABLE
    write_whole(table, partial(Path.write_text, data=_table(front), encoding="utf-8", newline=""))
    return [front.write(directory), table, *write_report(front_section(front), directory / PAGE)]


def log_outcome(directory: Path, front: FrontFile, resolved: Mapping[str, Any]) -> None:
    """Logs table and pictures to W&B as a run of their own, if the configuration logs there."""
    loggers = resolved["trainer"].get("logger")
    sections = loggers if isinstance(loggers, list) else [loggers]
    for section in sections:
        if isinstance(section, dict) and str(section.get("class_path")).rpartition(".")[2] == "WandbLogger":
            import wandb

            options = section["init_args"]
            with wandb.init(
                project=options.get("project"),
                entity=options.get("entity"),
                dir=options.get("save_dir"),
                name=f"front of {directory.name}",
                mode="offline" if options.get("offline") else None,  # as WANDB_MODE says
            ) as run:
                rows = list(csv.reader(StringIO(_table(front))))
                pictures = {path.stem: wandb.Image(str(path)) for path in directory.glob("front_figures/*.png")}
                run.log({"front": wandb.Table(columns=list(rows[0]), data=rows[1:]), **pictures})


def _table(front: FrontFile) -> str:
    """Writes all trials, one a row; those of the front have the accuracies of their seeds."""
    points = {point.trial: point for point in front.points}
    keys = sorted({key for trial in front.trials for key in trial.values})
    lists = ("seeds", "natural", "certified", "test_natural", "test_certified")
    text = StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(
        ["trial", *keys, "natural", "certified", "pruned", "on_front", *(f"other_{name}" for name in lists)]
    )
    for trial in front.trials:
        values = [json.dumps(trial.values[key]) if key in trial.values else "" for key in keys]
        point = points.get(trial.number)
        seeds = [" ".join(map(str, getattr(point, name))) if point else "" for name in lists]
        writer.writerow(
            [trial.number, *values, trial.natural, trial.certified, trial.pruned, point is not None, *seeds]
        )
    return text.getvalue()
