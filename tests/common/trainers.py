"""Trainers that leave nothing on the disk and print nothing."""

from typing import Any

from lightning.pytorch import Trainer


def quiet_trainer(**options: Any) -> Trainer:
    """A trainer on the CPU without logger, checkpoints and printing, unless the options say otherwise."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(**{"accelerator": "cpu", "enable_model_summary": False, **quiet, **options})
