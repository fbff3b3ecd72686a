import pytest

from gls_lightning.callbacks.chosen_epochs import ChosenEpochs
from gls_lightning.errors import ConfigurationError


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
        ({"epochs": [3, -1]}, r"Callback.epochs is \[3, -1\]; it must name epochs, counted from 0"),
        ({"epochs": []}, r"Callback.epochs is \[\]; it must name epochs, counted from 0"),
    ],
)
def test_no_such_epochs(options, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ChosenEpochs("Callback", **options)
