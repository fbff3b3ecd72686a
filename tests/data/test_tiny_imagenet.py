import shutil
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gls_lightning.data import TinyImageNet
from gls_lightning.data.tiny_imagenet import JPEGFiles
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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("wnids.txt", b"", "names 0 classes; it must name 1 to 200"),
        ("wnids.txt", "\n".join(f"n{number}" for number in range(201)).encode(), "names 201 classes"),
        ("wnids.txt", b"n02\nn01\nn02\n", "names n02 more than once"),
        ("wnids.txt", b"n02\n", "train' holds n01, which wnids.txt does not name"),
        ("wnids.txt", b"\xff\xfe\0n", "wnids.txt is no readable text"),
        ("val/val_annotations.txt", b"", "val_annotations.txt' has no entry; it must name images and classes"),
        ("val/val_annotations.txt", b"\n\n", "val_annotations.txt' has no entry"),
        ("val/val_annotations.txt", b"val_0.JPEG n01\n", "has the line 'val_0.JPEG n01'; it must be an image, a tab"),
        ("val/val_annotations.txt", b"val_7.JPEG\tn01\n", "val/images' has no val_7.JPEG, which val_annotations.txt"),
        ("val/val_annotations.txt", b"../images/val_0.JPEG\tn01\n", r"has no \.\./images/val_0.JPEG"),
    ],
)
def test_lists_that_are_not_what_they_should_be(root: Path, name: str, content: bytes, message: str) -> None:
    (root / "tiny-imagenet-200" / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as refused:
        TinyImageNet(root=str(root)).setup("fit")
    assert str(refused.value).startswith("data.root: ")
    assert "\n" not in str(refused.value)


def test_a_class_without_a_folder(root: Path) -> None:
    shutil.rmtree(root / "tiny-imagenet-200/train/n01")
    with pytest.raises(ConfigurationError, match=r"n01/images' holds no \*.JPEG, but wnids.txt names n01"):
        TinyImageNet(root=str(root)).setup("fit")


def encoded(pixels: np.ndarray, mode: str | None = None, kind: str = "JPEG") -> bytes:
    file = BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(file, kind)
    return file.getvalue()


PIXELS = np.random.default_rng(1).integers(256, size=(64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        encoded(PIXELS),
        encoded(PIXELS, "L"),
        encoded(PIXELS, "CMYK"),
        encoded(PIXELS, "RGBA", "PNG"),
        encoded(PIXELS, "P", "GIF"),
    ],
    ids=["RGB", "grey", "CMYK", "PNG", "GIF"],
)
def test_images_of_every_kind_become_rgb(root: Path, content: bytes) -> None:
    path = root / "tiny-imagenet-200/train/n02/images/n02_0.JPEG"
    path.write_bytes(content)
    image = TinyImageNet(root=str(root)).load(train=True)[0][torch.tensor([0])]
    expected = np.asarray(Image.open(BytesIO(content)).convert("RGB"))
    assert np.array_equal(image[0].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(
    ("content", "message", "num_workers"),
    [
        (b"", "is no image that can be decoded", 0),
        (b"<html>404</html>", "is no image that can be decoded", 0),
        (encoded(PIXELS)[:1000], "is no image that can be decoded", 1),
        (encoded(PIXELS)[:10], "is no image that can be decoded", 0),
        (encoded(PIXELS[:, :63]), "has 64 x 63 pixels; it must have 64 x 64", 0),
        (encoded(PIXELS[:1, :1]), "has 1 x 1 pixels; it must have 64 x 64", 0),
    ],
)
def test_a_bad_image_is_named_in_one_line(root: Path, content: bytes, message: str, num_workers: int) -> None:
    """Also where a worker sends its whole traceback."""
    path = root / "tiny-imagenet-200/train/n02/images/n02_1.JPEG"
    path.write_bytes(content)
    data = TinyImageNet(root=str(root), num_workers=num_workers, augment=False)
    data.setup("fit")
    with pytest.raises(ConfigurationError, match=rf"^data\.root: {path} {message}") as refused:
        list(data.train_dataloader())
    assert "\n" not in str(refused.value)


@given(cut=st.integers(0, len(encoded(PIXELS)) - 1))
@settings(max_examples=30, deadline=None)
def test_a_cut_image_is_whole_or_refused(cut: int) -> None:
    content = encoded(PIXELS)
    whole = np.asarray(Image.open(BytesIO(content)))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "image.JPEG"
        path.write_bytes(content[:cut])
        try:
            (image,) = JPEGFiles([path], (64, 64))[torch.tensor([0])]
            what = "whole" if np.array_equal(image.permute(1, 2, 0).numpy(), whole) else "damaged"
        except ConfigurationError as error:
            what = str(error)
    assert what == "whole" or str(path) in what


@pytest.mark.parametrize("num_workers", [0, 2])
def test_real_images(shared: Path, num_workers: int) -> None:
    data = TinyImageNet(root=str(shared / "data"), batch_size=64, train_size=300, num_workers=num_workers)
    data.prepare_data()
    x, y, index = (torch.cat(parts) for parts in zip(*data.train_dataloader(), strict=True))
    assert x.shape == (300, 3, 64, 64)
    assert y.unique().numel() == -(-300 * 10 // data.load(train=True)[1].numel())
    assert torch.equal(y, data.load(train=True)[1][index])
    assert 0 <= x.min() < x.max() <= 1
