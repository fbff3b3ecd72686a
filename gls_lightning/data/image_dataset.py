"""Labelled images that are read a batch at a time."""

from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gls_lightning.data.augmentation import Augmentation

ImageBatch = tuple[Tensor, Tensor, Tensor]


class Images(Protocol):
    """Where images come from: a uint8 tensor [N,C,H,W], or anything that is indexed like one."""

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """The uint8 images [B,C,H,W] at ``indices`` [B]."""


class ImageDataset(Dataset[ImageBatch]):
    """Some of the images of an underlying data set, with labels, in [0,1].

    Its entries are read by *keys*: key ``epoch * len(self) + k`` is the k-th entry as augmented in ``epoch``, so the
    epoch reaches loader workers, persistent ones too, with the keys; a plain position is an entry of epoch 0.

    Args:
        images: The underlying images.
        labels: The underlying labels [N], int64.
        indices: Which of them belong to this data set [n], int64; all by default.
        white: The value that becomes 1.
        augmentation: Applied to what is read; none by default.
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
        self.images = images
        self.labels = labels
        self.indices = torch.arange(len(labels)) if indices is None else indices
        self.white = white
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, keys: list[int]) -> ImageBatch:
        """Reads keys of one epoch: float32 images [B,C,H,W], int64 labels [B], int64 underlying indices [B]."""
        indices = self.indices[torch.tensor(keys) % len(self)]
        images = self.images[indices]
        if self.augmentation is not None:
            images = self.augmentation(images, indices, keys[0] // len(self))
        return images.float() / self.white, self.labels[indices], indices

    def __getitem__(self, key: int) -> ImageBatch:
        """Reads one key: image [C,H,W], label and underlying index as 0-dim tensors."""
        images, labels, indices = self.__getitems__([key])
        return images[0], labels[0], indices[0]
