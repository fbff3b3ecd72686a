"""Diagnostics of a trained network: loss landscape, bounds, gradients, and the tightness of relaxations."""

from gls_lightning.diagnostics.gradient_statistics import GradientStatistics, gradient_statistics
from gls_lightning.diagnostics.landscape import (
    CheckpointDirection,
    Curve,
    Direction,
    GradientDirection,
    Landscape,
    LandscapeScores,
    LossLandscape,
    RandomDirection,
    landscape_scores,
)
from gls_lightning.diagnostics.propagation_tightness import propagation_tightness
from gls_lightning.diagnostics.relu_statistics import ReLUStates, preactivation_bounds, relu_states
from gls_lightning.diagnostics.tightness import Tightness, TightnessMeter, radius_grid
from gls_lightning.diagnostics.tightness_figure import tightness_figure
from gls_lightning.diagnostics.toy_figure import toy_figure
from gls_lightning.diagnostics.toy_functions import DISCONTINUOUS, SENSITIVE, PiecewiseLinear

__all__ = [
    "DISCONTINUOUS",
    "SENSITIVE",
    "CheckpointDirection",
    "Curve",
    "Direction",
    "GradientDirection",
    "GradientStatistics",
    "Landscape",
    "LandscapeScores",
    "LossLandscape",
    "PiecewiseLinear",
    "RandomDirection",
    "ReLUStates",
    "Tightness",
    "TightnessMeter",
    "gradient_statistics",
    "landscape_scores",
    "preactivation_bounds",
    "propagation_tightness",
    "radius_grid",
    "relu_states",
    "tightness_figure",
    "toy_figure",
]
