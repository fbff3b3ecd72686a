"""CIFAR-10."""

from typing import Any

import torch
import torchvision  # type: ignore[import-untyped]
from torch import Tensor

from gls_lightning.data.augmentation import FlipAndCrop
from gls_lightning.data.downloaded_images import DownloadedImages
from gls_lightning.errors import ConfigurationError


class CIFAR10(DownloadedImages):
    """Colour images of ten kinds of things (Krizhevsky, 2009): 50,000 training and 10,000 test images.

    Args:
        augment: Flip and crop training images at random, after 2 pixels of zero padding (paper, App. F.5).
        **kwargs: See ``DownloadedImages``.
    """

    input_shape = (3, 32, 32)
    num_classes = 10
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2023, 0.1994, 0.2010)

    def __init__(self, *, augment: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.augment = augment

    def download(self) -> None:
        """Downloads the archive unless all its files are there, intact."""
        torchvision.datasets.CIFAR10(self.root, train=False, download=True)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Reads the training or the test set."""
        try:
            stored = torchvision.datasets.CIFAR10(self.root, train=train)
        except RuntimeError as error:
            raise ConfigurationError(f"data.root: {str(self.root)!r} does not hold an intact CIFAR10") from error
        images = torch.from_numpy(stored.data).permute(0, 3, 1, 2).contiguous()
        return images, torch.tensor(stored.targets)

    def augmentation(self, num_images: int) -> FlipAndCrop | None:
        """Random flip and crop."""
        return FlipAndCrop(padding=2, num_images=num_images, seed=self.seed) if self.augment else None
