"""Labelled images that live on a device, where batches of them are made."""

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.data.image_dataset import ImageBatch, ImageDataset
from gls_lightning.devices import memory_of, sent

_SHARE_OF_A_GPU = 1 / 32
"""Largest part of a GPU's memory that the images of a data set take by themselves."""


class DeviceDataset(ImageDataset):
    """The images of a data set as bytes on a device, and with them the same batches, to the bit.

    They are moved once. Of a batch only the positions of its images are sent, and nothing waits for the device. Indices
    stay on the CPU, which draws by them.

    Args:
        dataset: The data set; its images must be a tensor.
        device: The device.
    """

    def __init__(self, dataset: ImageDataset, device: torch.device) -> None:
        if not isinstance(dataset.images, Tensor):
            raise TypeError(f"images are of type {type(dataset.images).__name__}; only a tensor can be moved")
        self.images = dataset.images[dataset.indices].to(device)
        self.labels = dataset.labels[dataset.indices].to(device)
        self.indices = dataset.indices
        self.white = dataset.white
        self.augmentation = dataset.augmentation
        self.device = device
        self._indices_there = dataset.indices.to(device)
        # Not a number: CUDA multiplies by the inverse of a number, which rounds differently.
        self._white_there = torch.tensor(float(dataset.white), device=device)

    @override
    def __getitems__(self, keys: list[int]) -> ImageBatch:
        positions = torch.tensor(keys) % len(self)
        there = sent(positions, self.device)
        images = self.images[there]
        if self.augmentation is not None:
            images = self.augmentation(images, self._indices_there[there], keys[0] // len(self))
        return images / self._white_there, self.labels[there], self.indices[positions]


def suits_gpu(dataset: ImageDataset, device: torch.device) -> bool:
    """Says whether a data set should live on a device: on a GPU, if its images are bytes in memory and few enough.

    This depends on sizes alone, not on how much memory is free.
    """
    memory, images, augmentation = memory_of(device), dataset.images, dataset.augmentation
    if memory is None or not isinstance(images, Tensor) or not (augmentation is None or augmentation.on_any_device):
        return False
    return images[0].nbytes * len(dataset) <= memory * _SHARE_OF_A_GPU
