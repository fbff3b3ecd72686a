"""Images of noise."""

import torch
from torch import Tensor

from gls_lightning.data import ImageDataModule


class NoiseImages(ImageDataModule):
    """Bytes of noise, the classes in turn; subclasses say how many and of which shape.

    Attributes:
        size: Number of images of each part.
    """

    input_shape = (1, 4, 4)
    num_classes = 2
    size = 10

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """The images of a part; those of test and validation are others."""
        generator = torch.Generator().manual_seed(int(train))
        images = torch.randint(256, (self.size, *self.input_shape), generator=generator, dtype=torch.uint8)
        return images, torch.arange(self.size) % self.num_classes
