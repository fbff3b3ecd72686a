from typing import Any

import pytest
import torch
from torch import Tensor

from gls_lightning.batches import in_precision_of, read_batch
from gls_lightning.errors import ConfigurationError

X, Y = torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 2])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16])
def test_numbers_of_every_integer_type(dtype: torch.dtype) -> None:
    images, labels, indices = read_batch([X, Y.to(dtype), (Y + 7).to(dtype)], "here", (1, 2, 2))
    assert images is X
    assert (labels.dtype, labels.tolist()) == (torch.int64, [0, 1, 2])
    assert indices is not None
    assert (indices.dtype, indices.tolist()) == (torch.int64, [7, 8, 9])
    assert read_batch((X, Y), "here").indices is None


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"image": X, "label": Y}, r"is a dictionary with the keys image, label; a batch is \(images, labels\)"),
        (X, r"is one tensor of shape \(3, 1, 2, 2\); a batch is"),
        ("batch", "is of type str; a batch is"),
        ((X,), "has 1 entry; a batch is"),
        ((X, Y, Y, Y), "has 4 entries; a batch is"),
        (([X], Y), ": images are of type list; they must be one tensor"),
        (((X * 255).byte(), Y), r": images are of type uint8; .* divide bytes by 255 \(torchvision's ToTensor"),
        ((X > 0.5, Y), ": images are of type bool; they must be dense floating-point numbers"),
        ((X.to(torch.float8_e4m3fn), Y), ": images are of type float8_e4m3fn; they must be"),
        ((X.to_sparse(), Y), ": images are sparse; they must be dense"),
        ((X[0, 0, 0], Y[:2]), r": images are of shape \(2,\); they must be of shape \[B, \*input\]"),
        ((X[:0], Y[:0]), r": images are of shape \(0, 1, 2, 2\); they must be .* at least one"),
        ((X, ["cat", "dog", "cat"]), ": labels are of type list; they must be one integer for each image"),
        ((X, Y[:2]), ": there are 3 images and 2 labels; they must be one integer for each image"),
        ((X, torch.eye(4)[Y]), r": labels are of shape \(3, 4\), as one-hot or soft labels are; .*, of shape \(3,\)"),
        ((X, Y[:, None]), r": labels are of shape \(3, 1\); they must be one integer for each image, the class"),
        ((X[0], Y[0]), r": labels are of shape \(\); they must be"),
        ((X, Y.float()), r": labels are of type float32; they must be .* counted from 0, as labels\.long\(\) gives"),
        ((X, Y > 0), ": labels are of type bool; they must be"),
        ((X, Y, ("a.png", "b.png", "c.png")), ": indices are of type tuple; they must be .* position in the data set"),
        ((X, Y, Y[:1]), ": there are 3 images and 1 indices"),
        ((X, Y, Y.double()), ": indices are of type float64"),
        ((X, Y, Y[None]), r": indices are of shape \(1, 3\); they"),
    ],
)
def test_what_is_no_batch_is_named_for_what_it_is(batch: Any, message: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"^train batch 7{'' if message.startswith(':') else ' '}{message}"
    ) as refused:
        read_batch(batch, "train batch 7")
    assert "\n" not in str(refused.value)


def test_images_of_another_shape() -> None:
    with pytest.raises(ConfigurationError, match=r"of shape \(3, 1, 2, 2\); they must be of shape \(B, 2, 2, 1\)"):
        read_batch((X, Y), "here", (2, 2, 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_precision_is_that_of_the_network(dtype: torch.dtype) -> None:
    tensors: list[Tensor] = [torch.tensor(1), torch.tensor(1.0, dtype=torch.float32)]
    images = torch.tensor([[1 / 255, 1.0]], dtype=torch.float64).to(dtype)
    converted = in_precision_of(tensors, images)
    assert converted.dtype == torch.float32
    assert (converted.double() - images.double()).abs().max() <= (3e-8 if dtype == torch.float64 else 0)
    assert in_precision_of([], images).dtype == dtype
