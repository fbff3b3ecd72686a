"""Test images that a command chooses."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gls_lightning.commands.shared import ChosenTestImages
from gls_lightning.data import Digits
from gls_lightning.errors import ConfigurationError

ALL = range(50)


def chosen(**options: Any) -> ChosenTestImages:
    images = ChosenTestImages(Digits(batch_size=16, test_size=50), "gls this", **options)
    images.prepare_data()
    images.setup("test")
    return images


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ALL),
        ({"samples": 7}, ALL[:7]),
        ({"samples": 70}, ALL),
        ({"start": 40, "samples": 20}, ALL[40:]),
        ({"start": 3, "end": 9}, ALL[3:9]),
        ({"end": 50}, ALL),
    ],
)
def test_positions(options: dict[str, int], expected: range) -> None:
    images = chosen(**options)
    assert images.positions == expected
    whole, labels, *_ = next(iter(Digits(batch_size=50, eval_batch_size=50, test_size=50).test_dataloader()))
    read = images.read_chosen()
    assert torch.equal(read.images, whole[list(expected)])
    assert torch.equal(read.labels, labels[list(expected)])
    (batch,) = images.test_dataloader()
    assert torch.equal(batch[0], read.images)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (ChosenTestImages, {"start": -1}, "start is -1; it must be at least 0"),
        (ChosenTestImages, {"samples": 0}, "samples is 0; it must be at least 1"),
        (ChosenTestImages, {"start": 9, "end": 9}, "end is 9; it must be above start, which is 9"),
        (ChosenTestImages, {"samples": 3, "end": 9}, "samples is 3 and end is 9; give one of them"),
        (chosen, {"start": 50}, "start is 50; it must be below 50, the number of test images"),
        (chosen, {"end": 51}, "end is 51; it must be at most 50, the number of test images"),
    ],
)
def test_what_there_is_not(make: Callable[..., Any], options: dict[str, int], message: str) -> None:
    words = (Digits(test_size=50), "gls this") if make is ChosenTestImages else ()
    with pytest.raises(ConfigurationError, match=message):
        make(*words, **options)
