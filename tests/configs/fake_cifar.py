"""Components that interrupted.yaml imports: noise in the shape of CIFAR-10, and a run that dies."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from gls_lightning.data import FlipAndCrop, ImageDataModule


class Interrupted(BaseException):
    """What no code handles, like the end of the process."""


class Interruption(Callback):
    """Ends the process, as it were, at a batch.

    Args:
        hook: Where.
        batch: Number of batches before that.
    """

    def __init__(self, hook: str = "", batch: int = 0) -> None:
        self.hook = hook
        self.batch = batch

    def _interrupt(self, trainer: Trainer, hook: str) -> None:
        if hook == self.hook and trainer.fit_loop.epoch_loop.batch_progress.total.ready == self.batch:
            raise Interrupted(f"killed in {hook}")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Before the batch is used."""
        self._interrupt(trainer, "on_train_batch_start")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the validation."""
        self._interrupt(trainer, "on_validation_start")


class FakeCIFAR(ImageDataModule):
    """Twenty images of noise for training and eight for validation."""

    input_shape = (3, 32, 32)
    num_classes = 10

    def load(self, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Makes the images."""
        size, generator = (20 if train else 8), torch.Generator().manual_seed(int(train))
        images = torch.randint(256, (size, *self.input_shape), generator=generator, dtype=torch.uint8)
        return images, torch.randint(10, (size,), generator=generator)

    def augmentation(self, num_images: int) -> FlipAndCrop:
        """As CIFAR-10's."""
        return FlipAndCrop(padding=2, num_images=num_images, seed=self.seed)
