from typing import Any

import pytest

from gls_lightning.errors import ConfigurationError
from gls_lightning.schedules import Cosine, Linear, ScheduleInEpochs, Smooth, Steps


def in_epochs(shape: Any, start: int = 0, end: int = 0, milestones: tuple[int, ...] = ()) -> ScheduleInEpochs:
    return ScheduleInEpochs("section", shape, start, end, milestones, [1, 0.5, 0.25])


@pytest.mark.parametrize(("shape", "ramp"), [("linear", Linear), ("smooth", Smooth), ("cosine", Cosine)])
def test_ramps_count_batches(shape: str, ramp: Any) -> None:
    assert in_epochs(shape, 1, 3).in_steps(100) == ramp(start=100, end=300, initial=1, final=0.25)


def test_steps_count_batches() -> None:
    assert in_epochs("step", milestones=(2, 4)).in_steps(100) == Steps((200, 400), (1, 0.5, 0.25))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("linear", 3, 2), "section has start_epoch 3 and end_epoch 2; it needs 0 <= start_epoch <= end_epoch"),
        (("linear", -1, 2), "start_epoch -1"),
        (("cubic",), "section.shape is 'cubic'; it must be smooth, linear, cosine or step"),
        (("cosine", 0, 2, (1,)), r"section.milestones is \[1\]; it must be \[\] where shape is cosine"),
        (("step", 0, 2, (1,)), "section.end_epoch is 2; it must be 0 where shape is step, which has milestones"),
    ],
)
def test_bad_combinations(options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        in_epochs(*options)


@pytest.mark.parametrize(
    ("shape", "message"),
    [("step", r"milestones is \[\]; it must be a list of"), ("linear", "end_epoch is 0; it must be at least 1")],
)
def test_one_that_rests_can_be_refused(shape: str, message: str) -> None:
    assert in_epochs(shape).rests
    with pytest.raises(ConfigurationError, match=message):
        in_epochs(shape).require_change()
    in_epochs("linear", 0, 1).require_change()
    in_epochs("step", milestones=(0,)).require_change()


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
def test_says_what_lies_behind_a_fit(schedule: ScheduleInEpochs, epochs: float, behind: str) -> None:
    assert schedule.behind(epochs) == behind
