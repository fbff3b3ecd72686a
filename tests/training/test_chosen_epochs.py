from typing import Any

import pytest
from lightning.pytorch import Trainer

from gls_lightning.errors import ConfigurationError
from gls_lightning.training.chosen_epochs import ChosenEpochs


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (ChosenEpochs("Callback"), [0, 1, 2, 3, 4, 5, 6]),
        (ChosenEpochs("Callback", every_n_epochs=3), [2, 5]),
        (ChosenEpochs("Callback", epochs=[4, 0]), [0, 4]),
        (ChosenEpochs("Callback", every_n_epochs=3, epochs=[4, 0]), [0, 4]),
    ],
)
def test_epochs_are_counted_from_0(chosen: ChosenEpochs, expected: list[int]) -> None:
    assert [epoch for epoch in range(7) if epoch in chosen] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_n_epochs": 0}, "Callback.every_n_epochs is 0; it must be at least 1"),
        ({"epochs": [3, -1]}, r"Callback.epochs is \[3, -1\]; it must be a list of epochs, counted from 0"),
        ({"epochs": []}, r"Callback.epochs is \[\]; it must be a list of epochs, counted from 0"),
    ],
)
def test_no_such_epochs(options, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ChosenEpochs("Callback", **options)


@pytest.mark.parametrize(
    ("chosen", "come"),
    [
        ({"epochs": [0, 3]}, "[3]"),
        ({"epochs": [4]}, "[]"),
        ({"every_n_epochs": 5}, "[]"),
        ({"epochs": [1, 3]}, None),
        ({"every_n_epochs": 4}, None),
    ],
)
def test_a_fit_that_leaves_out_chosen_epochs_says_so(
    chosen: dict[str, Any], come: str | None, recwarn: pytest.WarningsRecorder
) -> None:
    trainer = Trainer(max_epochs=4, check_val_every_n_epoch=2, accelerator="cpu", logger=False)
    recwarn.clear()
    ChosenEpochs("Callback", **chosen).warn_of_absent(trainer)
    said = [str(warning.message) for warning in recwarn]
    assert len(said) == (come is not None)
    assert all(f"after the epochs {come} only: with trainer.max_epochs 4" in text for text in said)
