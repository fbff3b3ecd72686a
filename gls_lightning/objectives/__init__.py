"""Objectives: the losses that training minimises, and the regularisers that are added to them."""

from gls_lightning.objectives.adversarial import Adversarial
from gls_lightning.objectives.cc_ibp import CCIBP
from gls_lightning.objectives.certified import Certified
from gls_lightning.objectives.distillation import Distillation
from gls_lightning.objectives.exp_ibp import EXPIBP
from gls_lightning.objectives.expressive import ExpressiveLoss
from gls_lightning.objectives.feature_distillation import FeatureDistillation
from gls_lightning.objectives.l1 import L1, L1Scope
from gls_lightning.objectives.logit_distillation import LogitDistillation
from gls_lightning.objectives.losses import robust_cross_entropy
from gls_lightning.objectives.mtl_ibp import MTLIBP
from gls_lightning.objectives.objective import Batch, Evaluation, Objective
from gls_lightning.objectives.regularizer import Regularizer
from gls_lightning.objectives.robust import RobustObjective
from gls_lightning.objectives.sabr import SABR
from gls_lightning.objectives.shi import ShiRegularizer
from gls_lightning.objectives.standard import Standard
from gls_lightning.objectives.staps import STAPS
from gls_lightning.objectives.taps import TAPS

__all__ = [
    "CCIBP",
    "EXPIBP",
    "L1",
    "MTLIBP",
    "SABR",
    "STAPS",
    "TAPS",
    "Adversarial",
    "Batch",
    "Certified",
    "Distillation",
    "Evaluation",
    "ExpressiveLoss",
    "FeatureDistillation",
    "L1Scope",
    "LogitDistillation",
    "Objective",
    "Regularizer",
    "RobustObjective",
    "ShiRegularizer",
    "Standard",
    "robust_cross_entropy",
]
