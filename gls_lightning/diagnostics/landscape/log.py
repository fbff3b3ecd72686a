"""Landscapes in files and loggers."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from gls_lightning.diagnostics.landscape._files import write_landscape
from gls_lightning.diagnostics.landscape.figures import landscape_figures
from gls_lightning.diagnostics.landscape.landscape import Landscape
from gls_lightning.diagnostics.landscape.tables import landscape_tables
from gls_lightning.run_files import picture_file


def landscape_scores_by_name(landscape: Landscape) -> Iterator[tuple[str, float]]:
    """Yields names and values of the scores of each curve along a line: ``landscape/RELAXATION/SIGMA/SCORE``."""
    if landscape.is_plane:
        return
    for curve in landscape.curves:
        sigma = f"sigma_{curve.sigma:g}" if curve.sigma else "original"
        for score, value in landscape.scores(curve)._asdict().items():
            yield f"landscape/{curve.relaxation}/{sigma}/{score}", value


def keep_landscape(
    trainer: Trainer, landscape: Landscape, directory: Path, title: str, about: Mapping[str, Any]
) -> list[Path]:
    """Writes a landscape into files, and logs its tables to W&B and its pictures to W&B and TensorBoard.

    To be called on the first process. With ``trainer.fast_dev_run`` nothing is kept.

    Args:
        trainer: The trainer with the loggers.
        landscape: The landscape.
        directory: Directory for the files.
        title: Title of the pictures.
        about: Further information; see :func:`write_landscape`.

    Returns:
        The files.
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return []
    figures = dict(landscape_figures(landscape, title))
    files = write_landscape(directory, landscape, figures, title, about)
    step = trainer.global_step
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            for name in figures:
                path = str(directory / picture_file(name))
                logger.log_image(f"landscape/{name}_picture", [path], step=step, caption=[title])
            for name, table in landscape_tables(landscape).items():
                logger.log_table(f"landscape/{name}", list(table.columns), [list(r) for r in table.rows], step=step)
        elif isinstance(logger, TensorBoardLogger):
            for name, figure in figures.items():
                logger.experiment.add_figure(f"landscape/{name}", figure, step)
    return files
