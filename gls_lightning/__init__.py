"""Certified training with Gaussian Loss Smoothing, on PyTorch Lightning."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gls_lightning.version import __version__

if TYPE_CHECKING:
    from gls_lightning.estimators import GradientEstimator
    from gls_lightning.loading import load
    from gls_lightning.module import CertifiedTrainingModule
    from gls_lightning.relaxations import Relaxation

__all__ = ["CertifiedTrainingModule", "GradientEstimator", "Relaxation", "__version__", "load"]

_HOMES = {
    "CertifiedTrainingModule": "gls_lightning.module",
    "GradientEstimator": "gls_lightning.estimators",
    "Relaxation": "gls_lightning.relaxations",
    "load": "gls_lightning.loading",
}


def __getattr__(name: str) -> Any:
    """Imports the public names when they are first used: PyTorch and Lightning take seconds to import."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
