"""The parts of a fit beside Lightning's own: its loss, checks, processes, length and images."""

from gls_lightning.training.captured_loss import Capture, CapturedLosses
from gls_lightning.training.checks import (
    check_classes,
    check_fit,
    check_precision,
    check_trained_network,
    require_large_batch,
    require_large_last_batch,
    warn_of_idle_regularizers,
)
from gls_lightning.training.chosen_epochs import ChosenEpochs
from gls_lightning.training.deferred_finiteness import DeferredFiniteness, NotFinite
from gls_lightning.training.epoch_means import EpochMeans
from gls_lightning.training.gradient_norm import clip_with_norm, clips_by_norm, gradient_norm
from gls_lightning.training.initial_weights import InitialWeights
from gls_lightning.training.loss import TrainingLoss, parameter_names
from gls_lightning.training.network import BoundedNetwork, bounded_network
from gls_lightning.training.non_finite_cause import cause_of_gradient, cause_of_loss, cause_of_weights, not_finite
from gls_lightning.training.optimization import Interval, OptimizedNetwork
from gls_lightning.training.population_statistics import indexed_training_loader, set_population_statistics
from gls_lightning.training.processes import (
    on_first_process,
    process_sum,
    reducer,
    require_equal_batches,
    share_of_batch,
)
from gls_lightning.training.run_directory import checkpoint_files, run_directory
from gls_lightning.training.run_length import RunLength, batches_per_epoch, run_length
from gls_lightning.training.saved_arguments import ESTIMATOR, keep_plain_arguments, require_fitting_checkpoint
from gls_lightning.training.step_metrics import StepMetrics, metrics_are_due
from gls_lightning.training.validation import validate
from gls_lightning.training.validation_images import IndexedImages, ValidationImages, require_validation

INTERNAL = frozenset({"BoundedNetwork", "OptimizedNetwork"})
"""The classes that configurations cannot name: ``CertifiedTrainingModule`` is made of them."""

__all__ = [
    "ESTIMATOR",
    "BoundedNetwork",
    "Capture",
    "CapturedLosses",
    "ChosenEpochs",
    "DeferredFiniteness",
    "EpochMeans",
    "IndexedImages",
    "InitialWeights",
    "Interval",
    "NotFinite",
    "OptimizedNetwork",
    "RunLength",
    "StepMetrics",
    "TrainingLoss",
    "ValidationImages",
    "batches_per_epoch",
    "bounded_network",
    "cause_of_gradient",
    "cause_of_loss",
    "cause_of_weights",
    "check_classes",
    "check_fit",
    "check_precision",
    "check_trained_network",
    "checkpoint_files",
    "clip_with_norm",
    "clips_by_norm",
    "gradient_norm",
    "indexed_training_loader",
    "keep_plain_arguments",
    "metrics_are_due",
    "not_finite",
    "on_first_process",
    "parameter_names",
    "process_sum",
    "reducer",
    "require_equal_batches",
    "require_fitting_checkpoint",
    "require_large_batch",
    "require_large_last_batch",
    "require_validation",
    "run_directory",
    "run_length",
    "set_population_statistics",
    "share_of_batch",
    "validate",
    "warn_of_idle_regularizers",
]
