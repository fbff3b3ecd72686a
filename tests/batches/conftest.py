from collections.abc import Callable

import pytest
import torch

from gls_lightning.batches import LabelledImages

CLASSES = 4
Batches = Callable[[int], LabelledImages]


@pytest.fixture
def good_batch() -> Batches:
    """Batches of five images of 2 x 3 pixels, 0 and 1 among them, of four classes."""

    def make(number: int) -> LabelledImages:
        generator = torch.Generator().manual_seed(number)
        images = torch.rand(5, 2, 3, generator=generator).round(decimals=1)
        images[0, 0, 0], images[1, 0, 0] = 0, 1
        return LabelledImages(images, torch.tensor([0, 3, 1, 2, 3]), torch.arange(5) + 5 * number)

    return make
