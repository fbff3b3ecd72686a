"""Objectives: what training minimises."""

from gls_lightning.objectives.adversarial import Adversarial
from gls_lightning.objectives.certified import Certified
from gls_lightning.objectives.losses import robust_cross_entropy
from gls_lightning.objectives.objective import Batch, Objective
from gls_lightning.objectives.robust import RobustObjective
from gls_lightning.objectives.standard import Standard

__all__ = [
    "Adversarial",
    "Batch",
    "Certified",
    "Objective",
    "RobustObjective",
    "Standard",
    "robust_cross_entropy",
]
