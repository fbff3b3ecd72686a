"""Results of ``gls tightness``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console
from rich.table import Table

from gls_lightning.commands.shared import EvaluatedModel
from gls_lightning.diagnostics import Tightness, TightnessMeter, tightness_figure
from gls_lightning.relaxations import Relaxation
from gls_lightning.run_files import write_whole

_COLUMNS = 6
"""The table shows at most so many radii."""


def report_tightness(evaluated: EvaluatedModel, output: Path, meter: TightnessMeter) -> None:
    """Prints a table, writes ``tightness.json`` and ``tightness.png``, and charts in W&B.

    To be called on the first process. With ``trainer.fast_dev_run`` no files are written.
    """
    trainer, epsilon = evaluated.trainer, evaluated.model.epsilon
    tightness = meter.result()
    about = {**evaluated.about, "epsilon": epsilon}
    title = f"Tightness: {about['network']}, {tightness.samples} test images of {about['data']}"
    for name, count in tightness.errors.items():
        if count:
            rank_zero_warn(f"{name} gave no number {count} times, each counted as not certified.")
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.log({"tightness/certified_accuracy": _chart(tightness, title)})
    console = Console(soft_wrap=True)
    console.print(_table(tightness, title))
    if not trainer.fast_dev_run:  # type: ignore[attr-defined]
        content = {**about, "precision": "float64", **_as_dict(tightness, meter.relaxations)}
        figure = tightness_figure(tightness, title=title, epsilon=epsilon)
        for kind, path in _files(output, content, figure):
            console.print(f"{kind:<16} {path}")


def _as_dict(tightness: Tightness, relaxations: dict[str, Relaxation]) -> dict[str, Any]:
    return {
        "samples": tightness.samples,
        "radii": tightness.radii,
        "relaxations": {
            name: {
                "class": f"{type(relaxation).__module__}.{type(relaxation).__qualname__}",
                "options": {key: value for key, value in vars(relaxation).items() if _is_plain(value)},
                "auc": tightness.auc[name],
                "certified_accuracy": tightness.certified_accuracy[name],
                "errors": tightness.errors[name],
            }
            for name, relaxation in relaxations.items()
        },
    }


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | None)


def _files(directory: Path, content: dict[str, Any], figure: Any) -> Iterator[tuple[str, Path]]:
    """Writes the files, and gives the kind and the path of each."""
    directory.mkdir(parents=True, exist_ok=True)
    curves, plot = directory / "tightness.json", directory / "tightness.png"
    write_whole(curves, lambda path: path.write_text(json.dumps(content, indent=2) + "\n"))
    yield "curves", curves
    write_whole(plot, lambda path: figure.savefig(path, format="png"))
    yield "plot", plot


def _table(tightness: Tightness, title: str) -> Table:
    last = len(tightness.radii) - 1
    shown = sorted({round(last * column / (_COLUMNS - 1)) for column in range(_COLUMNS)})
    radii = (f"{tightness.radii[index]:.4g}" for index in shown)
    table = Table("", "AUC", *radii, title=title, caption="certified accuracy at each radius")
    for name, area in tightness.auc.items():
        curve = tightness.certified_accuracy[name]
        table.add_row(name, f"{area:.4f}", *(f"{curve[index]:.2%}" for index in shown))
    return table


def _chart(tightness: Tightness, title: str) -> Any:
    import wandb  # there, because its logger is

    curves = tightness.certified_accuracy
    return wandb.plot.line_series(
        list(tightness.radii), [list(curve) for curve in curves.values()], list(curves), title=title, xname="epsilon"
    )
