"""Labelled images, read a batch at a time."""

from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gls_lightning.arguments import require
from gls_lightning.data._labelled_images import require_labelled_images
from gls_lightning.data.augmentation import Augmentation
from gls_lightning.errors import ConfigurationError

ImageBatch = tuple[Tensor, Tensor, Tensor]


class Images(Protocol):
    """Stored images: a uint8 tensor [N,C,H,W], or anything that is indexed like one."""

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """Returns the uint8 images [B,C,H,W] at ``indices`` [B]."""


class ImageDataset(Dataset[ImageBatch]):
    """Images in [0,1] and their labels: all stored images of a data set, or some of them.

    Entries are read by *keys*: key ``epoch * len(self) + k`` is the k-th entry, augmented as in ``epoch``. So every
    loader worker learns the epoch from the keys. A plain position is an entry of epoch 0.

    Args:
        images: The stored images.
        labels: Their labels [N], integers from 0 on.
        indices: Positions [n] of the images that belong to this data set, int64; by default all.
        white: The value that becomes 1, between 1 and 255.
        augmentation: Changes the images that are read; by default nothing does.

    Raises:
        ConfigurationError: Images, labels or indices are something else, do not fit each other, or are empty. When an
            image is read: it is not uint8.

    Example:
        >>> stored = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
        >>> image, label, index = ImageDataset(stored, labels=torch.tensor([3, 4]))[1]
        >>> image, label
        (tensor([[[1.]]]), tensor(4))
    """

    def __init__(
        self,
        images: Images,
        labels: Tensor,
        *,
        indices: Tensor | None = None,
        white: int = 255,
        augmentation: Augmentation | None = None,
    ) -> None:
        require(1 <= white <= 255, "white", white, "between 1 and 255")
        require_labelled_images(images, labels, "ImageDataset", white=white)
        self.images = images
        self.labels = labels.long()
        self.indices = torch.arange(len(labels)) if indices is None else _checked(indices, len(labels))
        self.white = white
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, keys: list[int]) -> ImageBatch:
        """Reads keys of one epoch: float32 images [B,C,H,W], int64 labels [B], int64 positions [B] in ``images``."""
        indices = self.indices[torch.tensor(keys) % len(self)]
        images = self.images[indices]
        if images.dtype != torch.uint8:
            raise ConfigurationError(f"images are read as {images.dtype}; they must be uint8, from 0 to {self.white}")
        if self.augmentation is not None:
            images = self.augmentation(images, indices, keys[0] // len(self))
        return images.float() / self.white, self.labels[indices], indices

    def __getitem__(self, key: int) -> ImageBatch:
        """Reads one key: image [C,H,W], label and position as 0-dim tensors."""
        images, labels, indices = self.__getitems__([key])
        return images[0], labels[0], indices[0]


def _checked(indices: Tensor, size: int) -> Tensor:
    if indices.ndim != 1 or indices.is_floating_point() or len(indices) == 0:
        raise ConfigurationError(
            f"indices are {indices.dtype} of shape {tuple(indices.shape)}; they must be integers [n], at least one"
        )
    if indices.min() < 0 or indices.max() >= size:
        raise ConfigurationError(
            f"indices lie between {indices.min()} and {indices.max()}; those of {size} images are 0 to {size - 1}"
        )
    return indices.long()
