"""Progress on the terminal, counted in other things than batches."""

from typing import Any

from lightning.pytorch import Trainer
from tqdm.auto import tqdm  # type: ignore[import-untyped]


def progress_bar(trainer: Trainer, description: str, unit: str, *, total: int, initial: int = 0) -> Any:
    """Returns a bar in place of Lightning's, which is shown where that would be, on the first process."""
    shown = trainer.progress_bar_callback is not None and trainer.is_global_zero
    if trainer.progress_bar_callback is not None:
        trainer.progress_bar_callback.disable()
    return tqdm(desc=description, unit=unit, total=total, initial=initial, disable=not shown, dynamic_ncols=True)
