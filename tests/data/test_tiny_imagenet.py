from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gls_lightning.data import TinyImageNet
from gls_lightning.errors import ConfigurationError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, listed against the alphabet; one grey-scale image."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "tiny-imagenet-200"
    for name in ("train/n02/images/n02_0", "train/n02/images/n02_1", "train/n01/images/n01_0", "val/images/val_0"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shape = (64, 64) if name.endswith("n01_0") else (64, 64, 3)
        Image.fromarray(generator.integers(256, size=shape, dtype=np.uint8)).save(folder / f"{name}.JPEG")
    (folder / "wnids.txt").write_text("n02\nn01\n")
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn01\t0\t0\t1\t1\n")
    return tmp_path


def test_labels_follow_wnids(root: Path) -> None:
    data = TinyImageNet(root=str(root))
    data.prepare_data()
    images, labels = data.load(train=True)
    assert labels.tolist() == [0, 0, 1]
    expected = np.asarray(Image.open(root / "tiny-imagenet-200/train/n02/images/n02_1.JPEG"))
    assert np.array_equal(images[torch.tensor([1])][0].permute(1, 2, 0).numpy(), expected)
    assert data.load(train=False)[1].tolist() == [1]


def test_grey_scale_becomes_colour(root: Path) -> None:
    images, _ = TinyImageNet(root=str(root)).load(train=True)
    image = images[torch.tensor([2])]
    assert image.shape == (1, 3, 64, 64)
    assert torch.equal(image[:, 0], image[:, 2])


@pytest.mark.parametrize("missing", ["wnids.txt", "val/val_annotations.txt"])
def test_missing_part_is_one_clear_error(root: Path, missing: str) -> None:
    (root / "tiny-imagenet-200" / missing).unlink()
    with pytest.raises(ConfigurationError, match=f"tiny-imagenet-200' has no {missing}; it should hold"):
        TinyImageNet(root=str(root)).prepare_data()


def test_missing_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/tiny-imagenet-200' has no wnids.txt"):
        TinyImageNet(root=str(tmp_path)).prepare_data()


def test_inconsistent_lists_are_clear_errors(root: Path) -> None:
    folder = root / "tiny-imagenet-200"
    (folder / "wnids.txt").write_text("n02\nn03\n")
    with pytest.raises(ConfigurationError, match=r"n03/images' holds no \*.JPEG"):
        TinyImageNet(root=str(root)).setup("fit")
    with pytest.raises(ConfigurationError, match=r"names n01, which wnids\.txt does not"):
        TinyImageNet(root=str(root)).setup("test")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_real_images(shared: Path, num_workers: int) -> None:
    data = TinyImageNet(root=str(shared / "data"), batch_size=64, train_size=300, num_workers=num_workers)
    data.prepare_data()
    x, y, index = (torch.cat(parts) for parts in zip(*data.train_dataloader(), strict=True))
    assert x.shape == (300, 3, 64, 64)
    assert y.unique().numel() == -(-300 * 10 // data.load(train=True)[1].numel())
    assert torch.equal(y, data.load(train=True)[1][index])
    assert 0 <= x.min() < x.max() <= 1
