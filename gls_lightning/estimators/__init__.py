"""Gradient estimators: what the optimizer is given as the gradient of an objective."""

from gls_lightning.estimators.backprop import Backprop
from gls_lightning.estimators.estimator import (
    Estimate,
    GradientEstimator,
    Objective,
    attach,
    differentiate,
)
from gls_lightning.estimators.key import Key, Reducer, alone
from gls_lightning.estimators.pgpe import PGPE
from gls_lightning.estimators.rgs import RGS
from gls_lightning.estimators.sam import SAM

__all__ = [
    "PGPE",
    "RGS",
    "SAM",
    "Backprop",
    "Estimate",
    "GradientEstimator",
    "Key",
    "Objective",
    "Reducer",
    "alone",
    "attach",
    "differentiate",
]
