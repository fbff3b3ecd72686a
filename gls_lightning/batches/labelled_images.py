"""The check of a batch's types and shapes; no value is read here."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gls_lightning.devices import sent
from gls_lightning.errors import ConfigurationError

_PAIR = "a batch is (images, labels), or (images, labels, indices in the data set)"

_PRECISIONS = torch.float16, torch.bfloat16, torch.float32, torch.float64


class LabelledImages(NamedTuple):
    """A batch: images, their labels, and perhaps their indices in the data set.

    Attributes:
        images: Floating-point numbers, ``[B, *input]``.
        labels: Classes, counted from 0, ``[B]``, int64.
        indices: Positions in the data set, ``[B]``, int64; None if the data give none.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor | None


def read_batch(batch: Any, place: str, input_shape: Sequence[int] | None = None) -> LabelledImages:
    """Takes a batch apart into images, labels and perhaps indices.

    Labels and indices of any integer type become int64 and move to the images' device. Images keep their precision.

    Args:
        batch: A batch of a data loader.
        place: Origin of the batch, for the message; for example ``train batch 7``.
        input_shape: Shape of one image; not checked if None.

    Raises:
        ConfigurationError: The batch has another structure, type or shape, which the message names.

    Example:
        >>> images, labels, indices = read_batch([torch.rand(2, 1, 8, 8), torch.tensor([3, 7])], "train batch 0")
        >>> images.shape, labels, indices
        (torch.Size([2, 1, 8, 8]), tensor([3, 7]), None)
        >>> read_batch(torch.rand(2, 1, 8, 8), "train batch 0")
        Traceback (most recent call last):
        ...
        gls_lightning.errors.ConfigurationError: train batch 0 is one tensor of shape (2, 1, 8, 8); a batch is ...
    """
    images, labels, *rest = _entries(batch, place)
    images = _images(images, place, input_shape)
    labels = _numbers("labels", labels, images, place)
    return LabelledImages(images, labels, _numbers("indices", rest[0], images, place) if rest else None)


def in_precision_of(tensors: Iterable[Tensor], images: Tensor) -> Tensor:
    """Converts images to the precision of the first floating-point tensor among ``tensors``.

    From float64 to float32 a pixel changes by less than 3e-8.
    """
    return images.to(next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), images.dtype))


def is_integer(tensor: Tensor) -> bool:
    """Says whether a tensor holds integers, and no booleans."""
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def shown_shape(first: str, input_shape: Sequence[int]) -> str:
    """Writes the shape of many images, with a name for their number: ``(B, 1, 8, 8)``."""
    return str((first, *input_shape)).replace("'", "")


def _entries(batch: Any, place: str) -> Sequence[Any]:
    if isinstance(batch, Mapping):
        keys = ", ".join(map(str, list(batch)[:5]))
        raise ConfigurationError(f"{place} is a dictionary with the keys {keys}; {_PAIR}")
    if isinstance(batch, Tensor):
        raise ConfigurationError(f"{place} is one tensor of shape {tuple(batch.shape)}; {_PAIR}")
    if not isinstance(batch, tuple | list):
        raise ConfigurationError(f"{place} is of type {type(batch).__name__}; {_PAIR}")
    if len(batch) not in (2, 3):
        raise ConfigurationError(f"{place} has {len(batch)} {'entry' if len(batch) == 1 else 'entries'}; {_PAIR}")
    return batch


def _images(images: Any, place: str, input_shape: Sequence[int] | None) -> Tensor:
    if not isinstance(images, Tensor):
        raise ConfigurationError(f"{place}: images are of type {type(images).__name__}; they must be one tensor")
    if images.dtype not in _PRECISIONS or images.layout != torch.strided:
        kind = "sparse" if images.layout != torch.strided else f"of type {_name(images.dtype)}"
        raise ConfigurationError(
            f"{place}: images are {kind}; they must be dense floating-point numbers in [0, 1], such as float32: divide "
            "bytes by 255 (torchvision's ToTensor, or v2.ToDtype(torch.float32, scale=True))"
        )
    expected = "[B, *input]" if input_shape is None else shown_shape("B", input_shape)
    fits = images.ndim > 1 if input_shape is None else tuple(images.shape[1:]) == tuple(input_shape)
    if not fits or images.numel() == 0:
        raise ConfigurationError(
            f"{place}: images are of shape {tuple(images.shape)}; they must be of shape {expected}, and at least one"
        )
    return images


def _numbers(name: str, values: Any, images: Tensor, place: str) -> Tensor:
    """Reads one integer for each image."""
    meaning = "the class" if name == "labels" else "the position in the data set"
    right = f"they must be one integer for each image, {meaning} counted from 0"
    if not isinstance(values, Tensor):
        raise ConfigurationError(f"{place}: {name} are of type {type(values).__name__}; {right}, in one tensor")
    number, shape = len(images), tuple(values.shape)
    if values.ndim == 1 and len(values) != number:
        raise ConfigurationError(f"{place}: there are {number} images and {len(values)} {name}; {right}")
    if values.ndim != 1:
        like = ", as one-hot or soft labels are" if name == "labels" and values.ndim == 2 and shape[1] > 1 else ""
        raise ConfigurationError(f"{place}: {name} are of shape {shape}{like}; {right}, of shape ({number},)")
    if not is_integer(values):
        raise ConfigurationError(f"{place}: {name} are of type {_name(values.dtype)}; {right}, as {name}.long() gives")
    return sent(values.to(torch.int64), images.device)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
