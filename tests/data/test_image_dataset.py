import pickle

import torch

from gls_lightning.data import FlipAndCrop, ImageDataset

images = torch.randint(256, (10, 3, 4, 4), dtype=torch.uint8)
labels = torch.randint(5, (10,))


def test_reads_a_batch_of_underlying_images() -> None:
    dataset = ImageDataset(images, labels, indices=torch.tensor([8, 2, 5]))
    x, y, index = dataset.__getitems__([2, 0])
    assert index.tolist() == [5, 8]
    assert x.dtype == torch.float32
    assert torch.equal(x, images[[5, 8]] / 255)
    assert torch.equal(y, labels[[5, 8]])


def test_reads_one_entry() -> None:
    x, y, index = ImageDataset(images // 16, labels, white=16)[3]
    assert torch.equal(x, images[3].div(16, rounding_mode="floor") / 16)
    assert (y, index) == (labels[3], 3)


def test_a_key_carries_the_epoch() -> None:
    augmentation = FlipAndCrop(padding=1, num_images=10, seed=0)
    dataset = ImageDataset(images, labels, indices=torch.tensor([8, 2, 5]), augmentation=augmentation)
    x, _, _ = dataset.__getitems__([3 * 7 + 1, 3 * 7])
    indices = torch.tensor([2, 8])
    assert torch.equal(x, augmentation(images[indices], indices, 7) / 255)


def test_pickles() -> None:
    dataset = ImageDataset(images, labels, augmentation=FlipAndCrop(padding=1, num_images=10, seed=0))
    copy = pickle.loads(pickle.dumps(dataset))
    assert all(map(torch.equal, copy.__getitems__([11, 14]), dataset.__getitems__([11, 14])))
