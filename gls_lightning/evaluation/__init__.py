"""What is measured on a trained module by the commands beyond Lightning's own."""

from gls_lightning.evaluation.tightness_evaluation import TightnessEvaluation
from gls_lightning.evaluation.tightness_report import TightnessReport

__all__ = ["TightnessEvaluation", "TightnessReport"]
