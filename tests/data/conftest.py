import urllib.request
from collections.abc import Callable
from urllib.error import URLError

import pytest
import torch
from torch import Tensor

from gls_lightning.data import FlipAndCrop, ImageDataModule


class RandomImages(ImageDataModule):
    """CIFAR-shaped noise, augmented: 22 training images, 9 test images."""

    input_shape = (3, 8, 8)
    num_classes = 4

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        size = 22 if train else 9
        generator = torch.Generator().manual_seed(int(train))
        images = torch.randint(256, (size, *self.input_shape), generator=generator, dtype=torch.uint8)
        return images, torch.randint(self.num_classes, (size,), generator=generator)

    def augmentation(self, num_images: int) -> FlipAndCrop:
        return FlipAndCrop(padding=2, num_images=num_images, seed=self.seed)


@pytest.fixture
def random_images() -> Callable[..., RandomImages]:
    return RandomImages


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
