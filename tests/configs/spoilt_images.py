"""Data of somebody who knows nothing of this package, with something wrong in one part."""

from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset


class SpoiltImages(LightningDataModule):
    """Noise: 400 images of 8 x 8 pixels of ten classes, in batches of 16.

    Args:
        part: Which of train, val and test is spoilt.
        fault: How.
    """

    def __init__(self, *, part: str, fault: str) -> None:
        super().__init__()
        self.part, self.fault = part, fault

    def _loader(self, part: str) -> DataLoader[Any]:
        torch.manual_seed(0)
        images, labels = torch.rand(400, 1, 8, 8), torch.arange(400) % 10
        fault = self.fault if part == self.part else ""
        if fault == "nan":
            images[119, 0, 3, 4] = torch.nan
        elif fault == "bytes":
            images[300:] = images[300:].mul(255).round()
        elif fault == "labels":
            labels = labels + 1
        elif fault == "ignored":
            labels[53] = -100
        elif fault == "dictionaries":
            return DataLoader([{"image": x, "label": y} for x, y in zip(images, labels, strict=True)], batch_size=16)
        elif fault == "one-hot":
            labels = torch.eye(10)[labels]
        elif fault == "empty":
            images, labels = images[:0], labels[:0]
        return DataLoader(TensorDataset(images, labels), batch_size=16)

    def train_dataloader(self) -> DataLoader[Any]:
        """The training images."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation images."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """The test images."""
        return self._loader("test")
