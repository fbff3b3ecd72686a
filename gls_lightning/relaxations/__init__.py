"""Convex relaxations: the bounds of the logits that training and certification use."""

from gls_lightning.relaxations.alpha_crown import AlphaCROWN
from gls_lightning.relaxations.auto_lirpa import AutoLiRPA
from gls_lightning.relaxations.crown_ibp import CROWNIBP
from gls_lightning.relaxations.deep_poly import DeepPoly
from gls_lightning.relaxations.hbox import HBox
from gls_lightning.relaxations.ibp import IBP
from gls_lightning.relaxations.linear_relaxation import LinearRelaxation
from gls_lightning.relaxations.memory import (
    TENSORS_PER_SLOPE,
    Coefficients,
    MemoryBudget,
    gibibytes,
    members_together,
    number_that_fits,
)
from gls_lightning.relaxations.parts import RelaxationInParts
from gls_lightning.relaxations.relaxation import Relaxation

__all__ = [
    "CROWNIBP",
    "IBP",
    "TENSORS_PER_SLOPE",
    "AlphaCROWN",
    "AutoLiRPA",
    "Coefficients",
    "DeepPoly",
    "HBox",
    "LinearRelaxation",
    "MemoryBudget",
    "Relaxation",
    "RelaxationInParts",
    "gibibytes",
    "members_together",
    "number_that_fits",
]
