"""Lightning callbacks: schedules, BatchNorm statistics, certification during training, guards and records of a run."""

from gls_lightning.callbacks.adaptive_rho import AdaptiveRho
from gls_lightning.callbacks.batch_guard import BatchGuard
from gls_lightning.callbacks.batch_norm_reset import BatchNormReset
from gls_lightning.callbacks.early_stopping_after_ramp import EarlyStoppingAfterRamp
from gls_lightning.callbacks.ema import EMA
from gls_lightning.callbacks.end_of_dominated_run import EndOfDominatedRun
from gls_lightning.callbacks.epoch_resumption import EpochResumption
from gls_lightning.callbacks.epsilon_annealing import EpsilonAnnealing
from gls_lightning.callbacks.learning_rate_check import LearningRateCheck
from gls_lightning.callbacks.loss_landscape_logger import LossLandscapeLogger
from gls_lightning.callbacks.metrics_file import MetricsFile
from gls_lightning.callbacks.monitored_names import MonitoredNames
from gls_lightning.callbacks.non_finite_guard import NonFiniteGuard
from gls_lightning.callbacks.periodic_certification import PeriodicCertification
from gls_lightning.callbacks.progress_bar import PacedProgressBar
from gls_lightning.callbacks.refused_run import RefusedRun
from gls_lightning.callbacks.run_checkpoint import RunCheckpoint
from gls_lightning.callbacks.run_report import RunReport
from gls_lightning.callbacks.save_run_config import SaveRunConfig
from gls_lightning.callbacks.sigma_decay import SigmaDecay
from gls_lightning.callbacks.swa import SWA
from gls_lightning.callbacks.training_precision import TrainingPrecision
from gls_lightning.callbacks.training_statistics import TrainingStatistics
from gls_lightning.callbacks.wandb_summary import WandbSummary

INTERNAL = frozenset(
    {
        *(
            "BatchGuard",
            "EndOfDominatedRun",
            "EpochResumption",
            "LearningRateCheck",
            "MonitoredNames",
            "NonFiniteGuard",
            "WandbSummary",
        ),
        *("EndOfDominatedRun", "MetricsFile", "RefusedRun", "RunReport", "SaveRunConfig", "TrainingPrecision"),
    }
)
"""The callbacks that the module, the trainer or the command line adds to runs; configurations have no use for them."""

__all__ = [
    "EMA",
    "SWA",
    "AdaptiveRho",
    "BatchGuard",
    "BatchNormReset",
    "EarlyStoppingAfterRamp",
    "EndOfDominatedRun",
    "EpochResumption",
    "EpsilonAnnealing",
    "LearningRateCheck",
    "LossLandscapeLogger",
    "MetricsFile",
    "MonitoredNames",
    "NonFiniteGuard",
    "PacedProgressBar",
    "PeriodicCertification",
    "RefusedRun",
    "RunCheckpoint",
    "RunReport",
    "SaveRunConfig",
    "SigmaDecay",
    "TrainingPrecision",
    "TrainingStatistics",
    "WandbSummary",
]
