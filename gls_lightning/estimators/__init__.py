"""Gradient estimators: what the optimizer is given as the gradient of an objective."""

from gls_lightning.estimators.backprop import Backprop
from gls_lightning.estimators.estimator import Estimate, GradientEstimator, Objective, attach, differentiate
from gls_lightning.estimators.key import Key
from gls_lightning.estimators.rgs import RGS

__all__ = ["RGS", "Backprop", "Estimate", "GradientEstimator", "Key", "Objective", "attach", "differentiate"]
