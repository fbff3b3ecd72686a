"""The check that waits for nothing, against the one that waits, and on a GPU that is not there."""

from collections.abc import Callable
from math import nan
from typing import Any

import pytest
import torch
from common.tape import TapeRecorder
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from gls_lightning import CertifiedTrainingModule
from gls_lightning.batches import DeferredValues, LabelledImages, require_values
from gls_lightning.errors import ConfigurationError

from .conftest import CLASSES, Batches

READING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique", "lift_fresh", "_to_copy")


class NothingIsRead(TorchDispatchMode):
    """Refuses what reads values from a device, or copies to it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in READING or (name == "_to_copy" and "device" not in (kwargs or {})), func
        return func(*args, **(kwargs or {}))


def spoil_pixel(batch: LabelledImages) -> None:
    batch.images[2, 1, 0] = nan


def spoil_label(batch: LabelledImages) -> None:
    batch.labels[4] = CLASSES


def spoil_index(batch: LabelledImages) -> None:
    assert batch.indices is not None
    batch.indices[1] = -5


SPOIL = pytest.mark.parametrize("spoil", [spoil_pixel, spoil_label, spoil_index])


def refusal(check: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as refused:
        check()
    return str(refused.value)


RECORDED = pytest.mark.parametrize("recorded", [False, True])


def deferred(recorded: bool) -> DeferredValues:
    return DeferredValues(TapeRecorder() if recorded else None)


@RECORDED
@SPOIL
def test_says_what_the_immediate_check_says(
    good_batch: Batches, spoil: Callable[[LabelledImages], None], recorded: bool
) -> None:
    values, batches = deferred(recorded), [good_batch(number) for number in range(4)]
    spoil(batches[2])
    batches[3].images.fill_(7)  # the first bad batch counts
    for number, batch in enumerate(batches):
        values.note(batch, f"train batch {number}", CLASSES)
    expected = refusal(lambda: require_values(batches[2], "train batch 2", CLASSES))
    assert refusal(values.raise_if_bad) == expected
    values.raise_if_bad()  # starts anew


@RECORDED
@given(spoilt=st.dictionaries(st.integers(0, 9), st.integers(0, 4)), reads=st.sets(st.integers(0, 9)))
def test_the_first_since_the_last_reading(spoilt: dict[int, int], reads: set[int], recorded: bool) -> None:
    values, expected = deferred(recorded), ""
    for number in range(10):
        labels = torch.zeros(5, dtype=torch.int64)
        if number in spoilt:
            labels[spoilt[number]] = -1
            expected = expected or f"val batch {number}, position {spoilt[number]}: the label is -1"
        values.note(LabelledImages(torch.zeros(5, 2), labels, None), f"val batch {number}", CLASSES)
        if number in reads:
            assert refusal(values.raise_if_bad).startswith(expected) if expected else values.raise_if_bad() is None
            expected = ""


@SPOIL
def test_steps_go_on_with_what_is_right(good_batch: Batches, spoil: Callable[[LabelledImages], None]) -> None:
    values, clean = DeferredValues(), good_batch(0)
    for given_, got in zip(clean, values.note(clean, "here", CLASSES), strict=True):
        torch.testing.assert_close(got, given_, rtol=0, atol=0)
    spoilt = good_batch(0)
    spoil(spoilt)
    replaced = values.note(spoilt, "here", CLASSES)
    require_values(replaced, "here", CLASSES)
    differs = [(a != b).sum().item() for a, b in zip(replaced, clean, strict=True) if a is not None and b is not None]
    assert sum(differs) <= 1


@SPOIL
@pytest.mark.parametrize("indices", [True, False])
def test_nothing_is_read_while_batches_come(
    good_batch: Batches, spoil: Callable[[LabelledImages], None], indices: bool
) -> None:
    values, batches = DeferredValues(), [good_batch(number) for number in range(3)]
    spoil(batches[1])
    with NothingIsRead():
        for number, batch in enumerate(batches):
            batch = batch if indices else batch._replace(indices=None)
            values.note(batch, f"train batch {number}", CLASSES)
    with NothingIsRead(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        values.raise_if_bad()


def test_a_module_reads_nothing_before_it_computes(good_batch: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES))
    module = CertifiedTrainingModule(network=network, epsilon=0.1, input_shape=(2, 3))
    monkeypatch.setattr("gls_lightning.training.network.reading_waits", lambda images: True)
    for indices in (True, False):
        batch = good_batch(0) if indices else good_batch(0)[:2]
        with NothingIsRead(), module.evaluation(batch, 3, "val", deferrable=True) as (images, _, _):
            assert images.shape == (5, 2, 3)
    at_once = module.evaluation(good_batch(0), 3)
    with NothingIsRead(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        at_once.__enter__()


def test_nothing_is_read_from_a_gpu() -> None:
    """PyTorch's stand-in for one knows shapes and devices alone: reading a value, or mixing devices, is an error."""
    with FakeTensorMode():
        batch = LabelledImages(
            torch.empty(8, 1, 4, 4, device="cuda"),
            torch.empty(8, dtype=torch.int64, device="cuda"),
            torch.empty(8, dtype=torch.int64, device="cuda"),
        )
        values = DeferredValues()
        for number in range(3):
            noted = values.note(batch, f"train batch {number}", CLASSES)
        assert {part.device.type for part in noted if part is not None} == {"cuda"}
        with pytest.raises(Exception, match=r"data-dependent|_local_scalar_dense"):
            values.raise_if_bad()
