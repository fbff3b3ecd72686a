"""What is measured on a trained module by the commands beyond Lightning's own."""

from gls_lightning.evaluation.certification_evaluation import CertificationEvaluation
from gls_lightning.evaluation.certification_options import CertificationOptions
from gls_lightning.evaluation.certification_report import CertificationReport
from gls_lightning.evaluation.landscape_evaluation import LandscapeEvaluation
from gls_lightning.evaluation.metrics_report import report_metrics
from gls_lightning.evaluation.test_images import ChosenTestImages
from gls_lightning.evaluation.tightness_evaluation import TightnessEvaluation
from gls_lightning.evaluation.tightness_report import TightnessReport

__all__ = [
    "CertificationEvaluation",
    "CertificationOptions",
    "CertificationReport",
    "ChosenTestImages",
    "LandscapeEvaluation",
    "TightnessEvaluation",
    "TightnessReport",
    "report_metrics",
]
