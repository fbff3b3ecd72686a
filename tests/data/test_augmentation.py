import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from gls_lightning.data import FlipAndCrop


@pytest.fixture
def images() -> Tensor:
    return torch.randint(256, (40, 3, 6, 5), dtype=torch.uint8)


def test_equals_torchvision_image_by_image(images: Tensor) -> None:
    augmentation = FlipAndCrop(padding=2, num_images=100, seed=5)
    indices = torch.randperm(100)[:40]
    actual = augmentation(images, indices, epoch=3)
    for image, index, result in zip(images, indices, actual, strict=True):
        top, left, flip = augmentation.draws(3)[:, index].tolist()
        expected = transforms.crop(transforms.pad(image, [2]), top, left, 6, 5)
        assert torch.equal(result, transforms.horizontal_flip(expected) if flip else expected)


def test_depends_on_seed_epoch_and_index_alone(images: Tensor) -> None:
    indices = torch.arange(40)
    augmentation = FlipAndCrop(padding=2, num_images=40, seed=0)
    whole = augmentation(images, indices, epoch=7)
    augmentation(images, indices, epoch=8)
    again = [FlipAndCrop(padding=2, num_images=40, seed=0)(images[i : i + 1], indices[i : i + 1], 7) for i in range(40)]
    assert torch.equal(whole, torch.cat(again))
    assert not torch.equal(whole, augmentation(images, indices, epoch=8))
    assert not torch.equal(whole, FlipAndCrop(padding=2, num_images=40, seed=1)(images, indices, epoch=7))


def test_every_crop_and_flip_is_equally_likely() -> None:
    draws = FlipAndCrop(padding=4, num_images=90_000, seed=0).draws(0)
    counts = torch.zeros(9, 9, 2).index_put_(tuple(draws), torch.ones(90_000), accumulate=True)
    expected = 90_000 / 162
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 161 + 4 * (2 * 161) ** 0.5


def test_leaves_the_global_generator_alone(images: Tensor) -> None:
    before = torch.get_rng_state()
    FlipAndCrop(padding=2, num_images=40, seed=0)(images, torch.arange(40), 0)
    assert torch.equal(torch.get_rng_state(), before)
