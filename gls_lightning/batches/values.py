"""The check of a batch's values, and the first value that is out of its range."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple, Self

import torch
from torch import Tensor

from gls_lightning.batches.labelled_images import LabelledImages
from gls_lightning.errors import ConfigurationError

_PIXEL, _LABEL, _INDEX = range(3)
_SCALE = "divide bytes by 255, and let normalisation be the first layer of the network"


class BadValue(NamedTuple):
    """The first bad value of a batch, as 0-dim tensors on the batch's device.

    Attributes:
        found: Whether there is a bad value, bool; if not, the other attributes mean nothing.
        position: The image's position in the batch, int64.
        kind: 0 for a pixel, 1 for a label, 2 for an index; int64.
        number: The label or index, or a pixel's position in the flattened image; int64.
        pixel: The pixel's value, in the images' precision.
        data_index: The image's index in the data set, int64; -1 if there is none.
    """

    found: Tensor
    position: Tensor
    kind: Tensor
    number: Tensor
    pixel: Tensor
    data_index: Tensor

    def otherwise(self, later: "BadValue") -> Self:
        """Returns this one if it was found, otherwise the later one; nothing is read from the device."""
        return type(self)(*(torch.where(self.found, *pair) for pair in zip(self, later, strict=True)))

    def describe(self, place: str, input_shape: Sequence[int], num_classes: int | None) -> str:
        """Says what is wrong, in one line; waits for the device."""
        position, number, index = int(self.position), int(self.number), int(self.data_index)
        where = f"{place}, position {position}" + (f" (index {index} of the data set)" if index >= 0 else "")
        if self.kind == _PIXEL:
            pixel = ", ".join(str(number // prod(input_shape[i + 1 :]) % n) for i, n in enumerate(input_shape))
            value = float(self.pixel)
            by_rounding = -1e-3 < value < 1 + 1e-3
            shown = f"{value:.9g}" if by_rounding else f"{value:g}"
            right = "clamp what rounding adds" if by_rounding else _SCALE
            return f"{where}: the image holds {shown} at [{pixel}]; images lie in [0, 1], so {right}"
        if self.kind == _LABEL:
            return f"{where}: the label is {number}; {right_labels(num_classes)}"
        return f"{place}, position {position}: the index in the data set is {number}; indices are counted from 0"


def first_bad_value(batch: LabelledImages, num_classes: int | None) -> BadValue:
    """Looks for the first image with a bad value; nothing is read from the device.

    Args:
        batch: The batch.
        num_classes: Number of classes; if None, labels need only be at least 0.
    """
    images, labels, indices = batch
    if indices is None:
        indices = torch.full_like(labels, -1)
    bad_pixels = outside(images).flatten(1)
    bad_labels = outside_classes(labels, num_classes)
    bad_indices = torch.zeros_like(bad_labels) if batch.indices is None else indices < 0
    kinds = torch.stack([bad_pixels.any(1), bad_labels, bad_indices])
    # argmax finds the first of several ones; indexing by what it gives would read it from the device.
    position = kinds.any(0).byte().argmax(0, keepdim=True)
    kind = kinds.index_select(1, position).byte().argmax(0)
    pixel = bad_pixels.index_select(0, position).byte().argmax(1)
    index = indices.index_select(0, position)
    number = torch.stack([pixel, labels.index_select(0, position), index]).index_select(0, kind)
    value = images.flatten(1).index_select(0, position).index_select(1, pixel)
    return BadValue(kinds.any(), *(tensor.squeeze() for tensor in (position, kind, number, value, index)))


def right_labels(num_classes: int | None) -> str:
    """Says what labels should be."""
    return "labels are counted from 0" + (
        "" if num_classes is None else f", so those of {num_classes} classes are 0 to {num_classes - 1}"
    )


def outside_classes(labels: Tensor, num_classes: int | None) -> Tensor:
    """Marks the labels that are no class, bool of the labels' shape; without a number of classes, the negative ones."""
    return labels < 0 if num_classes is None else (labels < 0) | (labels >= num_classes)


def outside(images: Tensor) -> Tensor:
    """Marks the pixels that are no numbers from 0 to 1, bool of the images' shape."""
    return ~((images >= 0) & (images <= 1))


def require_values(batch: LabelledImages, place: str, num_classes: int | None = None) -> None:
    """Refuses values out of their range; waits for the device.

    Args:
        batch: The batch.
        place: Origin of the batch, for the message; for example ``train batch 7``.
        num_classes: Number of classes; if None, labels need only be at least 0.

    Raises:
        ConfigurationError: A pixel is no number from 0 to 1, or a label or index is out of range.
    """
    if not _all_inside(batch, num_classes):
        shape = batch.images.shape[1:]
        raise ConfigurationError(first_bad_value(batch, num_classes).describe(place, shape, num_classes))


def _all_inside(batch: LabelledImages, num_classes: int | None) -> bool:
    """Says whether all values are right, in one pass over each tensor: faster than looking for the first bad one."""
    low, high = batch.images.aminmax()
    first, last = batch.labels.aminmax()
    inside = low.item() >= 0 and high.item() <= 1 and first.item() >= 0
    inside = inside and (num_classes is None or last.item() < num_classes)
    return inside and (batch.indices is None or batch.indices.min().item() >= 0)
