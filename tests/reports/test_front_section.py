"""The section about a search."""

from dataclasses import replace

import pytest

from gls_lightning.reports.front_section import front_section, hypervolumes
from gls_lightning.run_files import FrontFile, FrontPoint, FrontTrial

TRIALS = [
    FrontTrial(0, {"a.lr": 0.01}, 0.5, 0.4, False),
    FrontTrial(1, {"a.lr": 0.02}, 0.4, 0.3, True),
    FrontTrial(3, {"a.lr": 0.03}, 0.8, 0.2, False),
]
FRONT = FrontFile(
    "my.yaml",
    "tpe",
    TRIALS,
    1,
    [FrontPoint(0, [1, 2], [0.5, 0.6], [0.3, 0.5], [0.4, 0.4], [0.3, 0.3]), FrontPoint(3, [], [], [], [], [])],
)


def test_hypervolumes() -> None:
    assert hypervolumes(TRIALS) == pytest.approx([0.2, 0.2, 0.26])


def test_means_intervals_and_what_is_absent() -> None:
    section = front_section(FRONT)
    first, second = section.tables[0].rows
    assert first[:6] == ["0", "lr 0.01", "50.00\n40.00", "2", "55.00\n95 %: -8.53 to 118.53", first[5]]
    assert first[6] == "40.00\n95 %: 40.00 to 40.00"
    assert second[3:] == ["0", "—", "—", "—", "—"]
    assert "3 trials chosen by tpe, of which 1 were ended early; 1 failed" in section.text[0]
    assert "0.2600 after 3 trials" in section.pictures[1].description
    assert section.text[0].endswith("only those networks were measured on the test images.")


def test_without_other_seeds() -> None:
    section = front_section(replace(FRONT, points=[FrontPoint(trial, [], [], [], [], []) for trial in (0, 3)]))
    assert len(section.tables[0].rows) == 2
    assert section.text[0].endswith("so their accuracies are those of lucky runs.")
    assert section.pictures[0].description.endswith(
        "On the front: 50.00 natural, 40.00 certified; 80.00 natural, 20.00 certified"
    )
