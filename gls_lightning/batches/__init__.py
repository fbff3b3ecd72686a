"""Batches of labelled images: every batch passes these checks before it is used."""

from gls_lightning.batches.deferred_values import DeferredValues, reading_waits
from gls_lightning.batches.labelled_images import LabelledImages, in_precision_of, is_integer, read_batch, shown_shape
from gls_lightning.batches.values import outside_classes, require_values, right_labels

__all__ = [
    "DeferredValues",
    "LabelledImages",
    "in_precision_of",
    "is_integer",
    "outside_classes",
    "read_batch",
    "reading_waits",
    "require_values",
    "right_labels",
    "shown_shape",
]
