"""Schedules: shares of a configured value, as functions of the training step."""

from gls_lightning.schedules.falling import Falling
from gls_lightning.schedules.in_epochs import InEpochs, Shape
from gls_lightning.schedules.product import Product
from gls_lightning.schedules.ramps import Cosine, Linear, Ramp, Smooth
from gls_lightning.schedules.schedule import Constant, Schedule
from gls_lightning.schedules.steps import Decay, Stairs

__all__ = [
    "Constant",
    "Cosine",
    "Decay",
    "Falling",
    "InEpochs",
    "Linear",
    "Product",
    "Ramp",
    "Schedule",
    "Shape",
    "Smooth",
    "Stairs",
]
