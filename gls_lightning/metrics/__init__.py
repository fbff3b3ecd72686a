"""Metrics of robustness as torchmetrics, for training loops of one's own."""

from gls_lightning.metrics.adversarial_accuracy import AdversarialAccuracy
from gls_lightning.metrics.certified_accuracy import CertifiedAccuracy

__all__ = ["AdversarialAccuracy", "CertifiedAccuracy"]
