"""Results of ``gls test`` and ``gls validate``."""

import errno
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console
from torch.utils.data import DataLoader

from gls_lightning.commands.shared.evaluated_model import EvaluatedModel
from gls_lightning.run_files import STORAGE_ERRORS, EvaluatedMetrics


def report_metrics(evaluated: EvaluatedModel, directory: Path) -> None:
    """Writes the metrics of the last evaluation into ``metrics.json``, on the first process.

    With ``trainer.fast_dev_run`` nothing is written, and where nothing can be, a warning says so.

    Args:
        evaluated: The model, after the evaluation.
        directory: Where the file goes.
    """
    trainer = evaluated.trainer
    if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    content = EvaluatedMetrics(
        **evaluated.about, epsilon=evaluated.model.epsilon, samples=_samples(trainer), metrics=finite
    )
    try:
        path = content.write(directory)
    except OSError as error:
        if error.errno in STORAGE_ERRORS - {errno.EROFS}:
            raise
        rank_zero_warn(f"The metrics are not kept in {directory}: {error.strerror}.")  # in somebody else's run
        return
    Console(soft_wrap=True).print(f"{'metrics':<16} {path}")


def _samples(trainer: Trainer) -> int | None:
    """Counts the images of a single DataLoader."""
    testing = trainer.state.fn == "test"
    loader: Any = trainer.test_dataloaders if testing else trainer.val_dataloaders
    batches = trainer.num_test_batches if testing else trainer.num_val_batches
    if not isinstance(loader, DataLoader) or loader.batch_size is None:
        return None
    return min(len(loader.dataset), int(batches[0]) * trainer.world_size * loader.batch_size)  # type: ignore[arg-type]
