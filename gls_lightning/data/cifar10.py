"""CIFAR-10."""

from typing import Any

import torch
import torchvision  # type: ignore[import-untyped]
from torch import Tensor
from torchvision.datasets.utils import check_integrity  # type: ignore[import-untyped]

from gls_lightning.data._downloaded_images import DownloadedImages
from gls_lightning.data.augmentation import FlipAndCrop
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
        except RuntimeError as error:  # before any of the files, which are pickles, is loaded
            raise ConfigurationError(f"data.root: {self._fault()}; CIFAR10 needs its original files") from error
        images = torch.from_numpy(stored.data).permute(0, 3, 1, 2).contiguous()
        return images, torch.tensor(stored.targets)

    def _fault(self) -> str:
        """Says which file is not the original."""
        source = torchvision.datasets.CIFAR10
        folder = self.root / source.base_folder
        for name, md5 in [*source.train_list, *source.test_list, [source.meta["filename"], source.meta["md5"]]]:
            if not (folder / name).is_file():
                return f"there is no {folder / name}"
            if not check_integrity(folder / name, md5):
                return f"{folder / name} is damaged or another file: its MD5 is not {md5}"
        return f"{folder} could not be read"

    def augmentation(self, num_images: int) -> FlipAndCrop | None:
        """Returns a random flip and crop."""
        return FlipAndCrop(padding=2, num_images=num_images, seed=self.seed) if self.augment else None
