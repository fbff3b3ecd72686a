"""Loss landscapes: the loss around the weights, as numbers, tables, pictures and files."""

from gls_lightning.diagnostics.landscape.directions import (
    CheckpointDirection,
    Direction,
    GradientDirection,
    RandomDirection,
)
from gls_lightning.diagnostics.landscape.figures import curves_figure, scores_figure
from gls_lightning.diagnostics.landscape.landscape import Curve, Landscape, LossLandscape
from gls_lightning.diagnostics.landscape.log import keep_landscape, landscape_scores_by_name
from gls_lightning.diagnostics.landscape.loss import landscape_loss
from gls_lightning.diagnostics.landscape.scores import LandscapeScores, landscape_scores
from gls_lightning.diagnostics.landscape.tables import score_table

__all__ = [
    "CheckpointDirection",
    "Curve",
    "Direction",
    "GradientDirection",
    "Landscape",
    "LandscapeScores",
    "LossLandscape",
    "RandomDirection",
    "curves_figure",
    "keep_landscape",
    "landscape_loss",
    "landscape_scores",
    "landscape_scores_by_name",
    "score_table",
    "scores_figure",
]
