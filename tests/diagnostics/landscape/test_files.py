"""Landscapes as tables, pictures and files."""

import csv
import json
from pathlib import Path

import pytest
import torch

from gls_lightning.diagnostics import Curve, Landscape
from gls_lightning.diagnostics.landscape._files import write_landscape
from gls_lightning.diagnostics.landscape.figures import landscape_figures

GRID = torch.tensor([-1.0, 0.0, 1.0]).double()


def curve(relaxation: str, sigma: float, *rows: tuple[float, ...]) -> Curve:
    losses = torch.tensor(rows).double()
    return Curve(relaxation, sigma, losses, losses[len(rows) // 2])


def line() -> Landscape:
    curves = (
        curve("IBP", 0.0, (3.0,), (2.0,), (1.0,)),
        curve("IBP", 0.1, (3.0, 5.0), (2.0, 2.0), (1.0, 1.0)),
        curve("DeepPoly", 0.0, (1.0,), (2.0,), (1.0,)),
        curve("DeepPoly", 0.1, (1.0, 1.0), (2.0, 2.0), (1.0, 1.0)),
    )
    return Landscape(("steps",), (0.5,), (GRID,), curves, (1, 2))


def plane() -> Landscape:
    values = curve("IBP", 0.0, *((float(i),) for i in range(9)))
    return Landscape(("steps", "others"), (0.5, 2.0), (GRID, GRID + 10), (values,), (1,))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def write(directory: Path, landscape: Landscape) -> list[Path]:
    return write_landscape(directory, landscape, dict(landscape_figures(landscape, "A title")), "A title", {})


def test_files_of_a_line(tmp_path: Path) -> None:
    files = write(tmp_path / "new/place", line())
    names = {"landscape.json", "curves.csv", "scores.csv", "curves.png", "scores.png", "population.png"}
    assert {path.name for path in files} == names == {path.name for path in (tmp_path / "new/place").iterdir()}
    about = json.loads((tmp_path / "new/place/landscape.json").read_text())
    assert about == {"title": "A title", "axes": ["steps"], "lengths": [0.5]}
    points = rows(tmp_path / "new/place/curves.csv")
    assert len(points) == 2 * 3 * (1 + 2)
    first = next(p for p in points if p["sigma"] == "0.1" and p["population_size"] == "2")
    assert (first["relaxation"], first["coordinate"]) == ("IBP", "-1.0")
    assert (float(first["loss"]), float(first["normalized"])) == (4.0, 2.0)
    # Student's t with one degree of freedom, standard error 1.
    assert float(first["half_width"]) == pytest.approx(12.7062, abs=1e-3)
    assert float(first["upper"]) == pytest.approx(2 + 12.7062 / 2, abs=1e-3)
    scores = rows(tmp_path / "new/place/scores.csv")
    original = next(row for row in scores if row["relaxation"] == "DeepPoly" and row["sigma"] == "0.0")
    assert (float(original["max_finite_difference"]), float(original["mean_curvature"])) == (0.5, 1.0)
    assert float(original["deviation_from_convexity"]) == 0.5


def test_files_of_a_plane_take_the_place_of_those_of_a_line(tmp_path: Path) -> None:
    write(tmp_path, line())
    write(tmp_path, plane())
    assert {path.name for path in tmp_path.iterdir()} == {"landscape.json", "curves.csv", "surface.png"}
    last = rows(tmp_path / "curves.csv")[5]
    assert (last["coordinate"], last["second_coordinate"], last["loss"]) == ("0.0", "11.0", "5.0")


def test_files_of_others_stay(tmp_path: Path) -> None:
    mine = [tmp_path / name for name in ("scores.csv", "surface.png", "population.csv")]
    for path in mine:
        path.write_text("mine")
    write(tmp_path, plane())
    assert [path.read_text() for path in mine if path.suffix == ".csv"] == ["mine", "mine"]
    write(tmp_path, line())
    assert mine[2].read_text() == "mine"


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("count", [1, 9])
def test_a_surface_with_losses_that_are_not_finite(value: float, count: int, tmp_path: Path) -> None:
    values = curve("IBP", 0.0, *((value if i < count else float(i),) for i in range(9)))
    landscape = Landscape(("steps", "others"), (0.5, 2.0), (GRID, GRID + 10), (values,), (1,))
    assert tmp_path / "surface.png" in write(tmp_path, landscape)


def test_curves_and_bands() -> None:
    figure = dict(landscape_figures(line(), "A title"))["curves"]
    original, smoothed, *_ = figure.axes
    assert [panel.get_title() for panel in figure.axes[:2]] == ["original", "sigma 0.1"]
    assert [drawn.get_label() for drawn in original.lines] == ["IBP", "DeepPoly"]
    assert list(original.lines[0].get_ydata()) == [1.5, 1.0, 0.5]
    assert list(smoothed.lines[0].get_ydata()) == [2.0, 1.0, 0.5]
    assert len(original.collections) == 0
    assert len(smoothed.collections) == 2
    assert figure.get_suptitle() == "A title"
    assert figure.get_supxlabel() == "steps\n(1 is 0.5 in the l2 norm)"


def test_scores_over_sigma() -> None:
    figure = dict(landscape_figures(line()))["scores"]
    assert [axes.get_title() for axes in figure.axes] == [
        "largest finite difference",
        "mean curvature",
        "deviation from convexity",
    ]
    ibp, deep_poly = figure.axes[0].lines[:2]
    assert list(ibp.get_ydata()) == [0.5, 1.0]
    original, smoothed = ibp.get_xdata()
    assert 0 < original < smoothed == 0.1
    assert list(deep_poly.get_ydata()) == [0.5, 0.5]


def test_populations_are_spaced_and_keep_their_shape() -> None:
    figure = dict(landscape_figures(line()))["population"]
    one, two = figure.axes[0].lines
    assert (one.get_label(), two.get_label()) == ("1", "2")
    assert list(one.get_ydata()) == [1.5, 1.0, 0.5]
    shape = torch.as_tensor(two.get_ydata())
    torch.testing.assert_close(shape - shape[1], torch.tensor([1.0, 0.0, -0.5]).double())
    assert max(two.get_ydata()) <= min(one.get_ydata()) + 1.5


def test_a_surface_has_the_first_coordinate_to_the_right() -> None:
    figure = dict(landscape_figures(plane()))["surface"]
    panel = figure.axes[0]
    assert panel.get_title() == "IBP, original"
    assert panel.get_xlim() == (-1, 1)
    assert panel.get_ylim() == (9, 11)
    assert figure.get_supxlabel() == "steps\n(1 is 0.5 in the l2 norm)"
    assert figure.get_supylabel() == "others\n(1 is 2 in the l2 norm)"
