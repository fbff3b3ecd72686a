"""Metrics of robustness for training loops of one's own, in torchmetrics' form."""

from gls_lightning.metrics.adversarial_accuracy import AdversarialAccuracy
from gls_lightning.metrics.certified_accuracy import CertifiedAccuracy

__all__ = ["AdversarialAccuracy", "CertifiedAccuracy"]
