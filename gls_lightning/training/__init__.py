"""What a fit consists of beside Lightning's own: its loss, its processes, its length, its images."""

from gls_lightning.training.certified_module import ACCURACIES, CertifiedModule, certified_module
from gls_lightning.training.checkpoint_files import checkpoint_files, intact_checkpoint
from gls_lightning.training.chosen_epochs import ChosenEpochs
from gls_lightning.training.loss import TrainingLoss, parameter_names
from gls_lightning.training.non_finite_cause import cause_of_gradient, cause_of_loss, cause_of_weights, not_finite
from gls_lightning.training.processes import on_first_process, process_sum
from gls_lightning.training.run_directory import run_directory
from gls_lightning.training.run_length import RunLength, run_length
from gls_lightning.training.validation_images import Images, ValidationImages, require_validation

__all__ = [
    "ACCURACIES",
    "CertifiedModule",
    "ChosenEpochs",
    "Images",
    "RunLength",
    "TrainingLoss",
    "ValidationImages",
    "cause_of_gradient",
    "cause_of_loss",
    "cause_of_weights",
    "certified_module",
    "checkpoint_files",
    "intact_checkpoint",
    "not_finite",
    "on_first_process",
    "parameter_names",
    "process_sum",
    "require_validation",
    "run_directory",
    "run_length",
]
