"""The figures of a report."""

import math
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from gls_lightning.figure_style import COLOURS, line_style, new_figure, tidy
from gls_lightning.reports._document import Picture
from gls_lightning.reports._metric_table import Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = tuple[float, float]
"""Natural and certified accuracy in percent."""
LOG_RATIO = 100
"""Positive curves whose values differ by this factor get a logarithmic axis."""


def curve_picture(name: str, curves: Mapping[str, Curve], label: str, *, percent: bool = False) -> Picture:
    """Draws curves over epochs.

    Args:
        name: Name of the picture.
        curves: At least one, by their labels.
        label: What they show; the last part of a metric's name labels the vertical axis.
        percent: Whether the values are fractions, to be shown in percent.
    """
    factor = 100 if percent else 1
    titles = list(curves) if len(curves) > 1 else []
    figure, axes = _figure(len(titles))
    for index, curve in enumerate(curves.values()):
        values = [factor * value for value in curve.values()]
        axes.plot(list(curve), values, marker="o" if len(curve) < 10 else "", markersize=3, **line_style(index))
    short = label.rpartition("/")[2]  # a metric's whole name is longer than the axis
    axes.set(xlabel="epoch", ylabel=f"{short} [%]" if percent else short)
    axes.yaxis.label.set_parse_math(False)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if not percent and _spans_magnitudes(curves.values()):
        axes.set_yscale("log")
    if titles:
        _legend(figure, axes.lines, titles)
    ends = (f"{title} ends at {factor * list(curve.values())[-1]:.4g}" for title, curve in curves.items())
    return _picture(figure, name, f"{label} over epochs", f"{label} over epochs: {', '.join(ends)}")


def pareto_picture(points: Mapping[str, Sequence[Point]], published: Mapping[str, Point], caption: str) -> Picture:
    """Draws certified over natural accuracy, and the Pareto front.

    Args:
        points: Natural and certified accuracy in percent of the runs of each group, by the group's label.
        published: The paper's, as far as it has them.
        caption: What stands below the picture.
    """
    figure, axes = _figure(len(points) + 2)
    front = pareto_front(point for group in points.values() for point in group)
    (line,) = axes.plot(*zip(*front, strict=True), color="grey", linewidth=1, drawstyle="steps-pre", zorder=1)
    handles, labels = [line], ["Pareto front"]
    for index, (label, group) in enumerate(points.items()):
        style = {"color": COLOURS[index % len(COLOURS)], "marker": "os^Dv"[index % 5], "linestyle": "none"}
        handles += axes.plot(*zip(*group, strict=True), **style)
        labels.append(label)
        if label in published:
            axes.plot(*published[label], markerfacecolor="none", markersize=9, **style)
    if published:
        handles += axes.plot([], [], "ko", markerfacecolor="none", markersize=9)
        labels.append("the paper's, hollow")
    axes.set(xlabel="natural accuracy [%]", ylabel="certified accuracy [%]")
    _legend(figure, handles, labels)
    best = "; ".join(f"{natural:.2f} natural, {certified:.2f} certified" for natural, certified in front)
    return _picture(figure, "pareto", caption, f"certified over natural accuracy; on the Pareto front: {best}")


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """Returns the points that no other one equals or exceeds in both coordinates, by increasing first coordinate."""
    front: list[Point] = []
    for point in sorted(set(points), reverse=True):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]


def _figure(lines: int) -> tuple["Figure", Any]:
    """Returns an empty figure with space for a legend of so many lines below the axes."""
    figure = new_figure(width=4.8, height=3.0 + 0.2 * lines)
    axes = figure.subplots()
    tidy(axes)
    return figure, axes


def _legend(figure: "Figure", handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Names the lines, with names taken as they are."""
    legend = figure.legend(handles, ["?"] * len(handles), loc="outside lower center", frameon=False, fontsize="small")
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(label)


def _spans_magnitudes(curves: Iterable[Curve]) -> bool:
    values = [value for curve in curves for value in curve.values() if not math.isnan(value)]
    return bool(values) and min(values) > 0 and max(values) / min(values) > LOG_RATIO


def _picture(figure: "Figure", name: str, caption: str, description: str) -> Picture:
    from matplotlib import rc_context

    png, svg = BytesIO(), BytesIO()
    figure.savefig(png, format="png")
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(svg, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = svg.getvalue().decode()
    return Picture(name, description, caption, png.getvalue(), text[text.index("<svg") :])
