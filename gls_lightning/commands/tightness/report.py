"""Results of ``gls tightness``."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console
from rich.table import Table

from gls_lightning.commands.shared import EvaluatedModel
from gls_lightning.diagnostics import Tightness, TightnessMeter, tightness_figure
from gls_lightning.relaxations import Relaxation
from gls_lightning.run_files import RelaxationCurve, TightnessCurves, write_whole

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
        curves = _curves(tightness, meter.relaxations)
        content = TightnessCurves(
            **about, precision="float64", samples=tightness.samples, radii=tightness.radii, relaxations=curves
        )
        console.print(f"{'curves':<16} {content.write(output)}")
        plot, figure = output / TightnessCurves.PICTURE, tightness_figure(tightness, title=title, epsilon=epsilon)
        write_whole(plot, lambda path: figure.savefig(path, format="png"))
        console.print(f"{'plot':<16} {plot}")


def _curves(tightness: Tightness, relaxations: dict[str, Relaxation]) -> dict[str, RelaxationCurve]:
    return {
        name: RelaxationCurve(
            f"{type(relaxation).__module__}.{type(relaxation).__qualname__}",
            {key: value for key, value in vars(relaxation).items() if _is_plain(value)},
            tightness.auc[name],
            tightness.certified_accuracy[name],
            tightness.errors[name],
        )
        for name, relaxation in relaxations.items()
    }


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | None)


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
