"""The section about a table."""

from dataclasses import replace
from math import sqrt

import pytest

from gls_lightning.reports.table_section import row_table, table_notes, table_section
from gls_lightning.run_files import ResultTable, TableRow, TriedSettings


def row(name: str, *certified: float, tried: list[TriedSettings] | None = None) -> TableRow:
    seeds = {str(seed): {"natural": 90.0, "certified": of, "adversarial": 60.0} for seed, of in enumerate(certified)}
    selected = ["selected on 10 held-out training images"]
    return TableRow(name, f"{name}.yaml", [], {}, seeds, [100], selected, ["best"], tried or [])


TRIED = [
    TriedSettings({"model.optimizer.lr": "1e-3"}, [40.0, 50.0], False),
    TriedSettings({"model.optimizer.lr": "1e-2"}, [50.0, 51.0], True),
]
GRAD, RGS = row("grad", 50, 53), row("rgs", 52, 56, 99, tried=TRIED)
TABLE = ResultTable("mine", 2, {}, ["--samples=100"], "versions", [GRAD, RGS], baseline="grad")


def test_gains_are_those_of_seeds_that_both_have() -> None:
    assert TABLE.gains(RGS) == [2, 3]
    assert TABLE.gains(GRAD) == []
    table = row_table(TABLE)
    half = 12.7062047 * sqrt(0.5) / sqrt(2)  # Student's t of one degree of freedom
    assert table.header == ["row", "measured on", "natural", "certified", "adversarial", "gain"]
    assert [cells[-1] for cells in table.rows] == [
        "\u2014",
        f"+2.50\n{2.5 - half:+.2f} to {2.5 + half:+.2f}\n2 of 3 seeds",
    ]
    assert "Gains in certified accuracy are those over grad with the same seed." in table_notes(TABLE)
    alone = replace(TABLE, baseline=None)
    assert [len(cells) for cells in row_table(alone).rows] == [5, 5]
    assert not any("Gains" in note for note in table_notes(alone))


def test_no_gain_has_no_minus() -> None:
    rows = [row("grad", 50.1, 49.9), row("rgs", 49.9999, 50)]
    assert row_table(replace(TABLE, rows=rows)).rows[1][-1].startswith("+0.00\n")


def test_what_was_tried() -> None:
    section = table_section(TABLE)
    assert section.tables[1].rows == [
        ["rgs", "lr 1e-3", "45.00", "40.00, 50.00", ""],
        ["rgs", "lr 1e-2", "50.50", "50.00, 51.00", "chosen"],
    ]
    (_, _, _, seeds, _), _ = table_section(replace(TABLE, seeds=3)).tables[1].rows
    assert seeds == "40.00, 50.00 (2 of 3 seeds)"
    assert "lr 1e-2\nselected on 10 held-out training images" in section.tables[0].rows[1][1]
    rows, tuning = section.pictures
    assert rows.description.endswith("grad 51.50; rgs 69.00")
    assert tuning.description.endswith("over model.optimizer.lr; the highest: rgs 50.50")
    assert len(table_section(replace(TABLE, rows=[GRAD])).tables) == 1


def test_keys_with_one_last_part_are_named_whole() -> None:
    assert TriedSettings({"a.lr": "1", "b.rho": "2"}, [], False).words == "lr 1, rho 2"
    assert TriedSettings({"a.lr": "1", "b.lr": "2"}, [], False).words == "a.lr 1, b.lr 2"


@pytest.mark.parametrize("values", [({"lr": "fast"}, {"lr": "slow"}), ({"a": "1", "b": "2"}, {"a": "1", "b": "3"})])
def test_only_a_single_number_is_drawn(values: tuple[dict[str, str], ...]) -> None:
    tried = [TriedSettings(of, [50.0], number == 0) for number, of in enumerate(values)]
    assert len(table_section(replace(TABLE, rows=[row("rgs", 50, tried=tried)])).pictures) == 1


def test_many_rows_are_drawn_in_several_pictures() -> None:
    rows = [row(f"row_{number}", tried=TRIED) for number in range(11)]
    section = table_section(replace(TABLE, rows=rows, baseline=None))
    assert [picture.name for picture in section.pictures] == ["table-tuning-1", "table-tuning-2"]
    assert section.tables[0].rows[0][1:] == ["0 of 2 seeds", "\u2014", "\u2014", "\u2014"]
