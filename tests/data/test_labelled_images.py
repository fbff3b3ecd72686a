"""What is wrong with the images and labels of a data set, before any is read."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gls_lightning.data import ImageDataModule, ImageDataset
from gls_lightning.errors import ConfigurationError

X = torch.randint(17, (6, 1, 2, 3), dtype=torch.uint8)
Y = torch.tensor([0, 1, 2, 3, 0, 1])


class OneByOne:
    """Images that are no tensor."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: Tensor) -> Tensor:
        return self.images[indices]


class OwnImages(ImageDataModule):
    """Somebody's data set; its test set is right."""

    input_shape = (1, 2, 3)
    num_classes = 4
    white = 16

    def __init__(self, images: Any, labels: Any, **options: Any) -> None:
        super().__init__(**options)
        self.images, self.labels = images, labels

    def load(self, train: bool) -> tuple[Any, Any]:
        return (self.images, self.labels) if train else (X, Y)


def test_what_is_right() -> None:
    for images in (X, OneByOne(X)):
        data = OwnImages(images, Y.to(torch.int16), batch_size=6)
        data.setup()
        read, labels, _ = next(iter(data.train_dataloader()))
        assert (read.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert labels.sort().values.tolist() == sorted(Y.tolist())


COMMON = [
    (X, Y[:5], "there are 6 images and 5 labels; they must be one integer for each image"),
    (OneByOne(X), Y[:5], "there are 6 images and 5 labels"),
    (X[:0], Y[:0], "there are no images; at least one is needed"),
    (X, Y - 1, "image 0 has the label -1; labels are counted from 0"),
    (X, Y.float(), r"labels are float32 of shape \(6,\); they must be one integer for each image"),
    (X, torch.eye(4)[Y], r"labels are float32 of shape \(6, 4\)"),
    (X, Y > 1, r"labels are bool of shape \(6,\)"),
    (X, Y.tolist(), "labels are of type list; .* in a tensor"),
    (X, np.asarray(Y), "labels are of type ndarray"),
    (X / 16, Y, r"images are float32 of shape \(6, 1, 2, 3\); they must be uint8"),
    (X[:, 0], Y, r"images are uint8 of shape \(6, 2, 3\); they must be uint8 of shape"),
    (X + 10, Y, r"a pixel is 2\d; white, which becomes 1, is 16"),
]


@pytest.mark.parametrize(("images", "labels", "message"), COMMON)
def test_a_data_module_says_it_at_the_start(images: Any, labels: Any, message: str) -> None:
    images = X.clamp(min=16) + 10 if "pixel" in message else images
    with pytest.raises(ConfigurationError, match=f"^data: training set of OwnImages: {message}") as refused:
        OwnImages(images, labels).setup("fit")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("images", "labels", "message"), COMMON)
def test_a_data_set_says_it_at_once(images: Any, labels: Any, message: str) -> None:
    images = X.clamp(min=16) + 10 if "pixel" in message else images
    with pytest.raises(ConfigurationError, match=f"^ImageDataset: {message}"):
        ImageDataset(images, labels, white=16)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (X, Y + 1, "image 3 has the label 4; labels are counted from 0, so those of 4 classes are 0 to 3"),
        (X.permute(0, 2, 3, 1), Y, r"uint8 of shape \(6, 2, 3, 1\); they must be uint8 of shape \(N, 1, 2, 3\)"),
    ],
)
def test_what_only_a_data_module_knows(images: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        OwnImages(images, labels).setup("fit")


@given(position=st.integers(0, 59), label=st.integers(-(2**63), 2**63 - 1).filter(lambda label: not 0 <= label < 4))
def test_any_label_is_found(position: int, label: int) -> None:
    labels = Y.repeat(10)
    labels[position] = label
    with pytest.raises(ConfigurationError, match=f"image {position} has the label {label};"):
        OwnImages(X.repeat(10, 1, 1, 1), labels).setup("fit")


def test_images_that_are_no_bytes_are_found_when_they_are_read() -> None:
    """Divided by white once more they would be black."""
    data = OwnImages(OneByOne(X / 16), Y)
    data.setup("fit")
    with pytest.raises(ConfigurationError, match=r"images are read as torch\.float32; they must be uint8"):
        next(iter(data.train_dataloader()))


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (torch.tensor([0, 6]), "indices lie between 0 and 6; those of 6 images are 0 to 5"),
        (torch.tensor([-1]), "indices lie between -1 and -1"),
        (torch.tensor([0.5]), r"indices are torch\.float32"),
        (torch.tensor([], dtype=torch.int64), "at least one"),
    ],
)
def test_indices_of_a_part(indices: Tensor, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ImageDataset(X, Y, indices=indices)


@pytest.mark.parametrize("white", [0, -1, 256])
def test_white(white: int) -> None:
    with pytest.raises(ConfigurationError, match=f"white is {white}; .* between 1 and 255"):
        ImageDataset(X, Y, white=white)
