"""The check of a data set's images and labels, before they are read."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gls_lightning.batches import is_integer, outside_classes, right_labels, shown_shape
from gls_lightning.errors import ConfigurationError


def require_labelled_images(
    images: Any,
    labels: Any,
    source: str,
    *,
    white: int = 255,
    input_shape: Sequence[int] | None = None,
    num_classes: int | None = None,
) -> None:
    """Refuses images and labels that cannot be a data set.

    Args:
        images: uint8 images up to ``white``, ``[N, C, H, W]``. Of other objects that are indexed like such a tensor, at
            most the length is checked.
        labels: Their classes, integers from 0 on, ``[N]``.
        source: Origin of the images, for the message.
        white: The value that becomes 1.
        input_shape: Shape of one image; not checked if None.
        num_classes: Number of classes; not checked if None.

    Raises:
        ConfigurationError: Images or labels are something else.
    """
    right = "they must be one integer for each image, the class counted from 0"
    if not isinstance(labels, Tensor) or labels.ndim != 1 or not is_integer(labels):
        raise ConfigurationError(f"{source}: labels are {_described(labels)}; {right}, in a tensor [N]")
    if hasattr(images, "__len__") and len(images) != len(labels):
        raise ConfigurationError(f"{source}: there are {len(images)} images and {len(labels)} labels; {right}")
    if len(labels) == 0:
        raise ConfigurationError(f"{source}: there are no images; at least one is needed")
    _require_classes(labels, source, num_classes)
    if isinstance(images, Tensor):
        _require_bytes(images, source, white, input_shape)


def _require_classes(labels: Tensor, source: str, num_classes: int | None) -> None:
    bad = outside_classes(labels, num_classes)
    if bad.any():
        first = int(bad.byte().argmax())
        raise ConfigurationError(f"{source}: image {first} has the label {labels[first]}; {right_labels(num_classes)}")


def _require_bytes(images: Tensor, source: str, white: int, input_shape: Sequence[int] | None) -> None:
    expected = "[N, C, H, W]" if input_shape is None else shown_shape("N", input_shape)
    fits = images.ndim == 4 if input_shape is None else tuple(images.shape[1:]) == tuple(input_shape)
    if images.dtype != torch.uint8 or not fits:
        raise ConfigurationError(f"{source}: images are {_described(images)}; they must be uint8 of shape {expected}")
    if white < 255 and (brightest := int(images.max())) > white:
        raise ConfigurationError(f"{source}: a pixel is {brightest}; white, which becomes 1, is {white}")


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"of type {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
