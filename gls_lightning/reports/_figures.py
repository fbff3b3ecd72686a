"""The figures of a report."""

import math
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from gls_lightning.figure_style import COLOURS, line_style, new_figure, tidy
from gls_lightning.reports._document import Picture
from gls_lightning.reports._lines import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = tuple[float, float]
"""Natural and certified accuracy in percent."""
LOG_RATIO = 100
"""Positive curves whose values differ by this factor get a logarithmic axis."""


def curve_picture(name: str, lines: Mapping[str, Line], label: str, *, percent: bool = False) -> Picture:
    """Draws lines over epochs.

    Args:
        name: Name of the picture.
        lines: At least one, by their labels.
        label: What they show; the last part of a metric's name labels the vertical axis.
        percent: Whether the values are fractions, to be shown in percent.
    """
    figure, axes = _figure(len(lines) if len(lines) > 1 else 0)
    factor = 100 if percent else 1
    _draw_lines(axes, lines.values(), factor)
    short = label.rpartition("/")[2]  # a metric's whole name is longer than the axis
    axes.set(xlabel="epoch", ylabel=f"{short} [%]" if percent else short)
    axes.yaxis.label.set_parse_math(False)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if not percent and _spans_magnitudes(lines.values()):
        axes.set_yscale("log")
    if len(lines) > 1:
        _legend(figure, axes.lines, list(lines))
    ends = (f"{title} ends at {factor * line.means[-1]:.4g}" for title, line in lines.items())
    return _picture(figure, name, f"{label} over epochs", f"{label} over epochs: {', '.join(ends)}")


def budget_picture(name: str, lines: Mapping[str, Line], one_pass: Mapping[str, float], label: str) -> Picture:
    """Draws fractions of the images over the seconds for each image.

    Args:
        name: Name of the picture.
        lines: At least one, by the labels of the configurations.
        one_pass: The fractions that one pass of bounds certifies, by the same labels.
        label: What the lines show.
    """
    figure, axes = _figure(len(lines) + 1)  # as high with the dotted lines as without
    _draw_lines(axes, lines.values(), 100, drawstyle="steps-post")
    handles, labels = list(axes.lines), list(lines)
    for title, fraction in one_pass.items():
        colour = COLOURS[lines[title].number % len(COLOURS)]
        axes.axhline(100 * fraction, color=colour, linewidth=1, linestyle=":")
    if one_pass:
        handles += axes.plot([], [], "k:", linewidth=1)
        labels.append("one pass of bounds, dotted")
    axes.set(xscale="log", xlabel="seconds for each image", ylabel=f"{label} [%]")
    _legend(figure, handles, labels)
    ends = (f"{title} ends at {100 * line.means[-1]:.2f} %" for title, line in lines.items())
    caption = f"{label} over the seconds for each image"
    return _picture(figure, name, caption, f"{caption}: {', '.join(ends)}")


def _draw_lines(axes: Any, lines: Iterable[Line], factor: float, drawstyle: str = "default") -> None:
    """Draws lines with their bands, in the colours of their numbers; those of percents within 0 and 100."""
    steps = "post" if drawstyle == "steps-post" else None
    for line in lines:
        values = [factor * value for value in line.means]
        style = {**line_style(line.number), "drawstyle": drawstyle}
        axes.plot(line.positions, values, marker="o" if len(values) < 10 else "", markersize=3, **style)
        if line.bands:
            low, high = ([factor * end for end in ends] for ends in zip(*line.bands, strict=True))
            axes.fill_between(line.positions, low, high, color=style["color"], alpha=0.15, linewidth=0, step=steps)
    if factor == 100:
        axes.set_ylim(within_percent(axes.get_ylim()))


def within_percent(limits: tuple[float, float]) -> tuple[float, float]:
    """Cuts limits of an axis off where no accuracy can be; the bands and bars of few seeds are long."""
    return max(limits[0], -2.0), min(limits[1], 102.0)


def pareto_picture(
    points: Mapping[str, Sequence[Point]], numbers: Mapping[str, int], published: Mapping[str, Point], caption: str
) -> Picture:
    """Draws certified over natural accuracy, and the Pareto front.

    Args:
        points: Natural and certified accuracy in percent of the runs of each group, by the group's label.
        numbers: The numbers of the groups, which decide their colours.
        published: The paper's, as far as it has them.
        caption: What stands below the picture.
    """
    figure, axes = _figure(len(points) + 2)
    front = pareto_front(point for group in points.values() for point in group)
    (line,) = axes.plot(*zip(*front, strict=True), color="grey", linewidth=1, drawstyle="steps-pre", zorder=1)
    handles, labels = [line], ["Pareto front"]
    for label, group in points.items():
        index = numbers[label]
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


def _spans_magnitudes(lines: Iterable[Line]) -> bool:
    values = [value for line in lines for value in line.means if not math.isnan(value)]
    return bool(values) and min(values) > 0 and max(values) / min(values) > LOG_RATIO


def _picture(figure: "Figure", name: str, caption: str, description: str) -> Picture:
    from matplotlib import rc_context

    png, svg = BytesIO(), BytesIO()
    figure.savefig(png, format="png")
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(svg, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = svg.getvalue().decode()
    return Picture(name, description, caption, png.getvalue(), text[text.index("<svg") :])
