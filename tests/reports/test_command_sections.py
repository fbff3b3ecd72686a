"""Sections about the files that commands left in the directories of a report."""

from pathlib import Path

import pytest

from gls_lightning.reports.command_sections import command_sections
from gls_lightning.run_files import FrontFile, FrontTrial, ResultFile, ResultTable, TableRow

FRONT = FrontFile("my.yaml", "tpe", [FrontTrial(0, {"a.lr": 0.01}, 0.5, 0.4, False)], 0, [])
ROW = TableRow(
    "first", "first.yaml", [], {}, {"0": {"natural": 90.0, "certified": 50.0, "adversarial": 60.0}}, [9], [], []
)
TABLE = ResultTable("mine", 1, {}, [], "versions", [ROW])


@pytest.mark.parametrize(
    ("file", "heading", "command"), [(FRONT, "Front of my.yaml", "front"), (TABLE, "Table of mine", "table")]
)
def test_files(file: ResultFile, heading: str, command: str, tmp_path: Path) -> None:
    path = file.write(tmp_path)
    (section,) = command_sections([str(tmp_path), str(tmp_path / "none")])
    assert section.heading == heading
    assert section.pictures
    path.write_text("{}")
    (section,) = command_sections([str(tmp_path)])
    assert section.notes == [f"{path} is no file of gls {command}: KeyError"]


def test_several_directories_have_pictures_of_different_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        TABLE.write(tmp_path / name)
    FRONT.write(tmp_path / "a")
    sections = command_sections([str(tmp_path / name) for name in ("a", "b")])
    assert [section.heading for section in sections] == ["Front of my.yaml", "Table of mine", "Table of mine"]
    names = [picture.name for section in sections for picture in section.pictures]
    assert len(set(names)) == len(names)
