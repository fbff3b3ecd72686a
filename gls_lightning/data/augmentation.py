"""Augmentation of training images, determined by seed, epoch and data set index."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from gls_lightning.devices import sent
from gls_lightning.randomness import keyed_generator


class Augmentation(ABC):
    """A random change of images that depends on seed, epoch and data set index alone.

    So batch size, number of workers and number of processes do not matter.

    Attributes:
        on_any_device: Whether it changes images where they are, alike on every device; data sets with another one stay
            on the CPU unless they are told to live on the device of the training.
    """

    on_any_device: bool = False

    @abstractmethod
    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Changes a batch.

        Args:
            images: Images, [B,C,H,W].
            indices: Their indices in the data set, [B], int64, on the images' device.
            epoch: Number of the epoch.

        Returns:
            Images of the same shape and type.
        """


class FlipAndCrop(Augmentation):
    """A random horizontal flip, and a random crop to the image's own size after zero padding (paper, App. F.5).

    Args:
        padding: Pixels of zero padding on each side.
        num_images: Number of images in the data set.
        seed: Seed; with epoch and index it determines flips and crops.

    Example:
        >>> images, indices = torch.rand(2, 3, 32, 32), torch.tensor([7, 4])
        >>> augmentation = FlipAndCrop(padding=2, num_images=10, seed=0)
        >>> changed = augmentation(images, indices, epoch=5)
        >>> changed.shape, torch.equal(changed[:1], augmentation(images[:1], indices[:1], epoch=5))
        (torch.Size([2, 3, 32, 32]), True)
    """

    on_any_device = True

    def __init__(self, *, padding: int, num_images: int, seed: int) -> None:
        self.padding = padding
        self.num_images = num_images
        self.seed = seed
        self._drawn: dict[torch.device, tuple[int, Tensor]] = {}

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Flips and crops a batch [B,C,H,W]."""
        top, left, flip = self.draws(epoch, images.device)[:, indices]
        height, width = images.shape[-2:]
        padded = F.pad(images, [self.padding] * 4)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view [B,C,2p+1,2p+1,H,W]
        crops = windows[torch.arange(len(images), device=images.device), :, top, left]
        return torch.where(flip.bool()[:, None, None, None], crops.flip(-1), crops)

    def draws(self, epoch: int, device: torch.device | str = "cpu") -> Tensor:
        """Draws an epoch, on the CPU, and sends it to a device.

        Returns:
            For each image top and left of the crop in the padded image, and whether to flip; [3,N].
        """
        device = torch.device(device)
        if device not in self._drawn or self._drawn[device][0] != epoch:
            self._drawn[device] = epoch, sent(self._draw(epoch), device)
        return self._drawn[device][1]

    def _draw(self, epoch: int) -> Tensor:
        generator = keyed_generator("augmentation", self.seed, epoch)
        crops = torch.randint(2 * self.padding + 1, (2, self.num_images), generator=generator)
        flips = torch.randint(2, (1, self.num_images), generator=generator)
        return torch.cat([crops, flips])
