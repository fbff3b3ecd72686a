from typing import Any

import pytest

from gls_lightning.errors import ConfigurationError
from gls_lightning.schedules import Cosine, InEpochs, Linear, Smooth


def in_epochs(shape: Any, start: int = 0, end: int = 0, milestones: tuple[int, ...] = ()) -> InEpochs:
    return InEpochs("section", shape, start, end, milestones)


@pytest.mark.parametrize(("shape", "ramp"), [("linear", Linear), ("smooth", Smooth), ("cosine", Cosine)])
def test_ramps_count_batches(shape: str, ramp: Any) -> None:
    assert in_epochs(shape, 1, 3).ramp(100, first=1, last=0.25) == ramp(start=100, end=300, first=1, last=0.25)


def test_steps_count_batches() -> None:
    assert in_epochs("step", milestones=(4, 2)).steps(100) == (200, 400)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("linear", 3, 2), "section has start_epoch 3 and end_epoch 2; it needs 0 <= start_epoch <= end_epoch"),
        (("linear", -1, 2), "start_epoch -1"),
        (("cubic",), "section.shape is 'cubic'; it must be one of smooth, linear, cosine, step"),
        (
            ("cosine", 0, 2, (1,)),
            r"section.milestones is \[1\], but the shape is cosine; milestones need the shape step",
        ),
        (("step", 0, 0, (-1,)), r"section.milestones is \[-1\]; it must be epochs, counted from 0"),
        (("step", 0, 2, (1,)), "section.end_epoch is 2, but the shape is step"),
    ],
)
def test_bad_combinations(options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        in_epochs(*options)


def test_says_that_nothing_changes() -> None:
    assert not in_epochs("step").changes
    assert not in_epochs("linear").changes
    assert in_epochs("linear", 0, 1).changes
    assert in_epochs("step", milestones=(0,)).changes


@pytest.mark.parametrize(
    ("schedule", "epochs", "behind"),
    [
        (in_epochs("step", milestones=(1, 3, 2)), 2, "the milestones [3, 2]"),
        (in_epochs("step", milestones=(1, 3)), 3.5, ""),
        (in_epochs("linear", 0, 4), 3.5, "end_epoch 4"),
        (in_epochs("linear", 0, 4), 4, ""),
        (in_epochs("linear", 4, 4), 4, "end_epoch 4"),
        (in_epochs("linear"), 1, ""),
    ],
)
def test_says_what_lies_behind_a_fit(schedule: InEpochs, epochs: float, behind: str) -> None:
    assert schedule.behind(epochs) == behind
