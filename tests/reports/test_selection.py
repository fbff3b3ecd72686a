"""Which images chose, told from a configuration."""

import pytest

from gls_lightning.reports import FlatConfig, held_out_images, selection

KEY = "data.init_args.validation_size"


@pytest.mark.parametrize(
    ("config", "held_out", "said"),
    [
        ({KEY: 5000}, 5000, "selected on 5,000 held-out training images"),
        ({KEY: 5000, "paper.tables": [1]}, 5000, "selected on 5,000 held-out training images"),
        ({KEY: 0}, 0, "selected on the test set"),
        ({KEY: 0, "paper.tables": [1]}, 0, "selected on the test set, as the paper"),
        ({}, None, ""),
    ],
)
def test_selection(config: FlatConfig, held_out: int | None, said: str) -> None:
    assert held_out_images(config) == held_out
    assert selection(config) == said
