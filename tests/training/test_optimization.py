from functools import partial
from typing import Any

import pytest
from lightning.pytorch.cli import ReduceLROnPlateau
from torch import nn

from gls_lightning import CertifiedTrainingModule
from gls_lightning.errors import ConfigurationError


def module(**options: Any) -> CertifiedTrainingModule:
    return CertifiedTrainingModule(
        network=nn.Linear(2, 2), epsilon=0.1, scheduler=partial(ReduceLROnPlateau, monitor="train/loss"), **options
    )


def test_a_schedule_that_watches_training_needs_no_trainer() -> None:
    assert module().configure_optimizers()["lr_scheduler"]["monitor"] == "train/loss"


def test_a_schedule_that_watches_epochs_is_not_stepped_after_steps() -> None:
    with pytest.raises(ConfigurationError, match="scheduler_interval is step; set it to epoch"):
        module(scheduler_interval="step").configure_optimizers()
