"""Tightness as a picture."""

from typing import TYPE_CHECKING

from gls_lightning.diagnostics.tightness import Tightness
from gls_lightning.figure_style import line_style, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tightness_figure(tightness: Tightness, *, title: str = "", epsilon: float | None = None) -> "Figure":
    """Draws certified accuracy over the radius, a line for each relaxation.

    Args:
        tightness: The curves.
        title: Title of the picture.
        epsilon: A radius to mark, for example the one of training.
    """
    figure = new_figure()
    axes = figure.subplots()
    for index, (name, area) in enumerate(tightness.auc.items()):
        axes.plot(
            tightness.radii,
            [100 * accuracy for accuracy in tightness.certified_accuracy[name]],
            label=f"{name} (AUC {area:.3f})",
            **line_style(index),
        )
    if epsilon is not None and tightness.radii[0] <= epsilon <= tightness.radii[-1]:
        axes.axvline(epsilon, color="grey", linewidth=1, linestyle=":", label=f"target epsilon {epsilon:.6g}")
    axes.set(xlabel="radius epsilon (l-infinity)", ylabel="certified accuracy [%]", title=title)
    axes.set(xlim=(tightness.radii[0], tightness.radii[-1]), ylim=(0, 100))
    tidy(axes)
    axes.legend(frameon=False)
    return figure
