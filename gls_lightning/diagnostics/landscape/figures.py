"""Pictures of loss landscapes."""

from collections.abc import Iterator
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from gls_lightning.diagnostics.landscape.landscape import Curve, Landscape
from gls_lightning.diagnostics.landscape.scores import LandscapeScores
from gls_lightning.figure_style import line_style, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCORES = ("largest finite difference", "mean curvature", "deviation from convexity")


def landscape_figures(landscape: Landscape, title: str = "") -> Iterator[tuple[str, "Figure"]]:
    """Yields the pictures of a landscape with their names.

    Along a line they are ``curves`` and ``scores`` (paper, Figs. 4, 10 and 5), and ``population`` if several sizes are
    compared (Fig. 8). Over a plane there is one, ``surface``.

    Args:
        landscape: The landscape.
        title: Title of the pictures.
    """
    if landscape.is_plane:
        yield "surface", surface_figure(landscape, title)
        return
    yield "curves", curves_figure(landscape, title)
    yield "scores", scores_figure(landscape, title)
    if len(landscape.population_sizes) > 1 and len(landscape.sigmas) > 1:
        yield "population", population_figure(landscape, title)


def curves_figure(landscape: Landscape, title: str = "") -> "Figure":
    """Draws a panel for the original loss and each sigma, with a line and its confidence band for each relaxation."""
    columns = ceil(sqrt(len(landscape.sigmas)))
    rows = ceil(len(landscape.sigmas) / columns)
    figure = new_figure(4 * columns + 1.6, 3.2 * rows + 1)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    (grid,) = landscape.grid
    for axes, sigma in zip(panels, landscape.sigmas, strict=False):
        for index, curve in enumerate(_with_sigma(landscape, sigma)):
            axes.plot(grid, curve.normalized, label=curve.relaxation, linewidth=1.2, **line_style(index))
            if sigma:
                axes.fill_between(grid, *curve.band, color=line_style(index)["color"], alpha=0.2, linewidth=0)
        axes.set_title(_sigma(sigma))
        axes.locator_params(axis="x", nbins=5)
        tidy(axes)
    for axes in panels[len(landscape.sigmas) :]:
        axes.set_visible(False)
    _legend(figure, panels[0])
    _label(figure, landscape, title, "loss over the loss at 0")
    return figure


def scores_figure(landscape: Landscape, title: str = "") -> "Figure":
    """Draws each score over sigma, a line for each relaxation; on the left, the score of the original loss."""
    figure = new_figure(13, 4)
    smoothed = landscape.sigmas[1:]
    origin = min(smoothed) / 3 if smoothed else 1.0  # the place of sigma 0 on the logarithmic axis
    for axes, field, name in zip(figure.subplots(1, 3), LandscapeScores._fields, _SCORES, strict=True):
        for index, relaxation in enumerate(landscape.relaxations):
            curves = sorted(_of_relaxation(landscape, relaxation), key=lambda curve: curve.sigma)
            values = [getattr(landscape.scores(curve), field) for curve in curves]
            places = [curve.sigma or origin for curve in curves]
            axes.plot(places, values, marker=".", label=relaxation, **line_style(index))
        drawn = [value for line in axes.lines for value in line.get_ydata() if value > 0]
        if drawn:
            axes.set_yscale("symlog", linthresh=min(drawn))  # logarithmic, with a place for 0
        axes.set(xscale="log", title=name, xlabel="sigma")
        axes.set_ylim(bottom=0)
        axes.axvline(origin, color="grey", linewidth=0.8, linestyle=":")
        axes.annotate("original", (origin, 0.5), xycoords=("data", "axes fraction"), rotation=90, color="grey")
        tidy(axes)
    _legend(figure, axes)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def population_figure(landscape: Landscape, title: str = "") -> "Figure":
    """Draws a panel for each relaxation and sigma, with the curves of all population sizes above each other.

    The distances between the curves mean nothing.
    """
    shape = len(landscape.relaxations), len(landscape.sigmas) - 1
    figure = new_figure(3.4 * shape[1] + 2.6, 3.4 * shape[0] + 1)
    panels = figure.subplots(*shape, sharex=True, squeeze=False).flatten()
    (grid,) = landscape.grid
    for axes, whole in zip(panels, (curve for curve in landscape.curves if curve.sigma), strict=True):
        curves = list(landscape.sized(whole))
        gap = max((curve.normalized.max() - curve.normalized.min()).item() for curve in curves) or 1.0
        for index, curve in enumerate(curves):
            axes.plot(grid, curve.normalized - index * gap, label=str(curve.members), **line_style(index))
        axes.set(title=f"{whole.relaxation}, {_sigma(whole.sigma)}", yticks=[])
        axes.locator_params(axis="x", nbins=5)
        tidy(axes)
    _legend(figure, panels[0], title="population size")
    _label(figure, landscape, title, "loss, curves spaced")
    return figure


def surface_figure(landscape: Landscape, title: str = "") -> "Figure":
    """Draws the loss over a plane, a panel for each relaxation and sigma; each relaxation has one scale of colours."""
    shape = len(landscape.relaxations), len(landscape.sigmas)
    figure = new_figure(3.2 * shape[1] + 1.5, 2.9 * shape[0] + 1)
    panels = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False)
    for row, relaxation in zip(panels, landscape.relaxations, strict=True):
        curves = list(_of_relaxation(landscape, relaxation))
        shaped = (curve.normalized.reshape(len(landscape.grid[0]), -1).T for curve in curves)
        values = [np.ma.masked_invalid(value.numpy()) for value in shaped]
        finite = np.concatenate([[1.0], *(value.compressed() for value in values)])  # 1 is the loss at 0
        levels = np.linspace(finite.min(), finite.max() + 1e-12, 16)
        for axes, curve, value in zip(row, curves, values, strict=True):
            filled = axes.contourf(*landscape.grid, value, levels=levels, cmap="viridis")
            axes.contour(*landscape.grid, value, levels=levels, colors="white", linewidths=0.3)
            axes.set_title(f"{relaxation}, {_sigma(curve.sigma)}")
        figure.colorbar(filled, ax=row, label="loss over the loss at 0")
    figure.supylabel(_axis(landscape, 1))
    _label(figure, landscape, title)
    return figure


def _with_sigma(landscape: Landscape, sigma: float) -> list[Curve]:
    return [curve for curve in landscape.curves if curve.sigma == sigma]


def _of_relaxation(landscape: Landscape, relaxation: str) -> list[Curve]:
    return [curve for curve in landscape.curves if curve.relaxation == relaxation]


def _sigma(sigma: float) -> str:
    return f"sigma {sigma:g}" if sigma else "original"


def _axis(landscape: Landscape, number: int) -> str:
    return f"{landscape.axes[number]}\n(1 is {landscape.lengths[number]:.3g} in the l2 norm)"


def _legend(figure: Any, axes: Any, title: str = "") -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False, title=title)


def _label(figure: Any, landscape: Landscape, title: str, value: str = "") -> None:
    figure.supxlabel(_axis(landscape, 0))
    figure.suptitle(title, x=0.01, ha="left")
    if value:
        figure.supylabel(value)
