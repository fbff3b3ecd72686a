"""What the picture shows."""

import pytest

from gls_lightning.diagnostics import Tightness
from gls_lightning.diagnostics.tightness_figure import tightness_figure

TIGHTNESS = Tightness(
    (0.0, 0.1, 0.2), 4, {"IBP": (1.0, 0.5, 0.0), "DeepPoly": (1.0, 1.0, 0.5)}, {"IBP": 0, "DeepPoly": 0}
)


def test_every_relaxation_has_its_line_and_its_area():
    (axes,) = tightness_figure(TIGHTNESS, title="Anything", epsilon=0.1).axes
    ibp, deep_poly, target = axes.lines
    assert list(ibp.get_xdata()) == [0.0, 0.1, 0.2]
    assert list(ibp.get_ydata()) == [100, 50, 0]
    assert list(deep_poly.get_ydata()) == [100, 100, 50]
    assert list(target.get_xdata()) == [0.1, 0.1]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "IBP (AUC 0.500)",
        "DeepPoly (AUC 0.875)",
        "target epsilon 0.1",
    ]
    assert axes.get_title() == "Anything"
    assert ibp.get_color() != deep_poly.get_color()


@pytest.mark.parametrize("epsilon", [None, 0.3])
def test_a_radius_off_the_grid_is_not_marked(epsilon):
    (axes,) = tightness_figure(TIGHTNESS, epsilon=epsilon).axes
    assert len(axes.lines) == 2
