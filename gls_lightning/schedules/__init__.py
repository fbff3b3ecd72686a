"""Schedules: values that follow the training steps, as pure functions."""

from gls_lightning.schedules.in_epochs import ScheduleInEpochs, Shape
from gls_lightning.schedules.opposite import Opposite
from gls_lightning.schedules.ramps import Cosine, Linear, Ramp, Smooth
from gls_lightning.schedules.schedule import Constant, Schedule, Schedules
from gls_lightning.schedules.steps import Steps

__all__ = [
    "Constant",
    "Cosine",
    "Linear",
    "Opposite",
    "Ramp",
    "Schedule",
    "ScheduleInEpochs",
    "Schedules",
    "Shape",
    "Smooth",
    "Steps",
]
