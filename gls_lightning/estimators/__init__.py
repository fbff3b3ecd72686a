"""Gradient estimators: what the optimizer is given as the gradient of a loss."""

from gls_lightning.estimators.backprop import Backprop
from gls_lightning.estimators.estimator import Estimate, GradientEstimator, attach
from gls_lightning.estimators.evaluation import Evaluation, LossFunction, Params, differentiate
from gls_lightning.estimators.noise import standard_normal
from gls_lightning.estimators.pgpe import PGPE
from gls_lightning.estimators.population import evaluate_members, members_at_once
from gls_lightning.estimators.rgs import RGS
from gls_lightning.estimators.sam import SAM
from gls_lightning.estimators.step import Reducer, Step, alone

__all__ = [
    "PGPE",
    "RGS",
    "SAM",
    "Backprop",
    "Estimate",
    "Evaluation",
    "GradientEstimator",
    "LossFunction",
    "Params",
    "Reducer",
    "Step",
    "alone",
    "attach",
    "differentiate",
    "evaluate_members",
    "members_at_once",
    "standard_normal",
]
