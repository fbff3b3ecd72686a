from math import inf, nan, prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gls_lightning.batches import LabelledImages, require_values
from gls_lightning.errors import ConfigurationError

from .conftest import CLASSES, Batches

SHAPES = st.sampled_from([(1,), (7,), (2, 3), (1, 4, 5), (3, 2, 2)])
BAD_PIXELS = st.sampled_from([-1.0, -0.5, 1.5, 83.0, 255.0, nan, inf, -inf])
BAD_LABELS = st.sampled_from([-(2**63), -100, -1, CLASSES, CLASSES + 1, 255, 2**63 - 1])


def images(shape: tuple[int, ...], size: int) -> LabelledImages:
    pixels = torch.linspace(0, 1, size * prod(shape)).reshape(size, *shape)
    return LabelledImages(pixels, torch.arange(size) % CLASSES, 100 + torch.arange(size))


@given(data=st.data(), shape=SHAPES, size=st.integers(1, 6))
def test_any_bad_value_is_found_at_its_place(data: st.DataObject, shape: tuple[int, ...], size: int) -> None:
    """Brute force: several values are spoilt, and the message is about the first."""
    batch = images(shape, size)
    require_values(batch, "here", CLASSES)
    places = st.tuples(st.integers(0, size - 1), *(st.integers(0, n - 1) for n in shape))
    pixels = data.draw(st.dictionaries(places, BAD_PIXELS, max_size=3))
    labels = data.draw(st.dictionaries(st.integers(0, size - 1), BAD_LABELS, min_size=not pixels, max_size=2))
    for place, value in pixels.items():
        batch.images[place] = value
    for position, label in labels.items():
        batch.labels[position] = label

    position = min([*labels, *(place[0] for place in pixels)])
    of_image = sorted(place for place in pixels if place[0] == position)
    if of_image:
        value = batch.images[of_image[0]].item()
        what = f"the image holds {value:g} at {list(of_image[0][1:])}; images lie in [0, 1]"
    else:
        what = f"the label is {labels[position]}; labels are counted from 0, so those of 4 classes are 0 to 3"
    with pytest.raises(ConfigurationError) as refused:
        require_values(batch, "val batch 7", CLASSES)
    where = f"val batch 7, position {position} (index {100 + position} of the data set): "
    assert str(refused.value).startswith(where + what)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision(good_batch: Batches, dtype: torch.dtype) -> None:
    pixels, labels, _ = good_batch(0)
    require_values(LabelledImages(pixels.to(dtype), labels, None), "here", CLASSES)
    pixels[3, 1, 2] = nan
    with pytest.raises(ConfigurationError, match=r"here, position 3: the image holds nan at \[1, 2\]"):
        require_values(LabelledImages(pixels.to(dtype), labels, None), "here", CLASSES)


def test_classes_may_be_unknown(good_batch: Batches) -> None:
    batch = good_batch(0)
    require_values(batch._replace(labels=batch.labels + 1000), "here")
    with pytest.raises(ConfigurationError, match=r"position 0 .*: the label is -1; labels are counted from 0$"):
        require_values(batch._replace(labels=batch.labels - 1), "here")


@pytest.mark.parametrize(("value", "shown"), [(1 + 2**-23, "1.00000012"), (-1e-9, "-9.99999972e-10")])
def test_what_rounding_adds_is_shown_in_full(good_batch: Batches, value: float, shown: str) -> None:
    batch = good_batch(0)
    batch.images[4, 1, 1] = value
    with pytest.raises(ConfigurationError, match=rf"holds {shown} at \[1, 1\]; .* so clamp what rounding adds"):
        require_values(batch, "here", CLASSES)


def test_a_negative_index(good_batch: Batches) -> None:
    batch = good_batch(0)
    with pytest.raises(
        ConfigurationError, match="here, position 0: the index in the data set is -2; indices are counted"
    ):
        require_values(batch._replace(indices=torch.arange(5) - 2), "here", CLASSES)
