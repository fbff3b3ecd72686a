"""The table that ``gls table`` made: rows over seeds, beside published numbers and a baseline."""

from collections.abc import Mapping, Sequence

from gls_lightning.figure_style import COLOURS, line_style, new_figure, tidy
from gls_lightning.reports._document import DASH, Picture, ReportTable, Section
from gls_lightning.reports._figures import _figure, _legend, _picture, within_percent
from gls_lightning.reports.seed_statistics import seed_statistics
from gls_lightning.run_files import ACCURACIES, ResultTable, TableRow

_LINES = 10
"""Rows in one picture of tuned values; more are hard to tell apart."""


def table_section(table: ResultTable, name: str = "table") -> Section:
    """Makes the section about a table.

    Args:
        table: The table.
        name: Begins the names of the pictures.
    """
    pictures = [_rows_picture(table, f"{name}-rows")] if any(row.seeds for row in table.rows) else []
    tried = [cells for row in table.rows for cells in _tried(row, table.seeds)]
    caption, header = "certified accuracy on held-out images in percent", ["row", "settings", "mean", "seeds", "choice"]
    return Section(
        f"Table of {table.title}",
        text=[*table_notes(table), f"Made by {table.software}."],
        tables=[row_table(table), *([ReportTable(caption, header, tried)] if tried else [])],
        pictures=[*pictures, *_tuning_pictures(table, f"{name}-tuning")],
    )


def table_notes(table: ResultTable) -> list[str]:
    """Returns the sentences that a reader of the numbers must know."""
    said = ["Accuracies in percent: the mean over the seeds and its 95 % confidence interval (Student's t)."]
    if table.baseline is not None:
        said.append(f"Gains in certified accuracy are those over {table.baseline} with the same seed.")
    if table.overrides:
        changed = [f"{key} {', '.join(of)}" for key, of in table.overrides.items()]
        said.append(f"Differs from the configurations: {'; '.join(changed)}.")
    elif any(row.tables for row in table.rows):
        said.append("Trained with the settings of the configurations.")
    if any(row.tried for row in table.rows):
        said.append("Tuned rows have the settings with the best mean certified accuracy on held-out images.")
    if table.certify:
        said.append(f"Certified with {' '.join(table.certify)}.")
    return said


def row_table(table: ResultTable) -> ReportTable:
    """Returns the rows with their means, and with the published numbers."""
    header = ["row", "measured on", *ACCURACIES, *([] if table.baseline is None else ["gain"])]
    rows = []
    for row in table.rows:
        cells = ["\n".join(_facts(row, table.seeds)), *(_cell(row, name) for name in ACCURACIES)]
        gain = [] if table.baseline is None else ["\n".join(_gain(table.gains(row), len(row.seeds)))]
        rows.append([row.row, *cells, *gain])
    return ReportTable("accuracies over seeds", header, rows)


def _facts(row: TableRow, seeds: int) -> list[str]:
    facts = [f"{len(row.seeds)} of {seeds} seeds"]
    if row.seeds:
        images, weights, *selected = [" or ".join(map(str, of)) for of in (row.images, row.weights, row.selected)]
        facts += [f"{images} images", f"{weights} checkpoint", *filter(None, [row.tuned, *selected])]
    return facts


def _cell(row: TableRow, name: str) -> str:
    values, published = row.percents(name), row.published.get(name)
    lines = _mean(values)
    if published is not None:
        distance = f" ({seed_statistics(values).mean - published:+z.2f})" if values else ""
        lines.append(f"paper: {published:.2f}{distance}")
    return "\n".join(lines)


def _gain(gains: Sequence[float], seeds: int) -> list[str]:
    return [*_mean(gains, "+"), *([f"{len(gains)} of {seeds} seeds"] if 0 < len(gains) < seeds else [])]


def _mean(values: Sequence[float], sign: str = "") -> list[str]:
    if not values:
        return [DASH]
    statistics = seed_statistics(values)
    lines = [f"{statistics.mean:{sign}z.2f}"]
    if statistics.interval is not None:
        lines.append(" to ".join(f"{end:{sign}z.2f}" for end in statistics.interval))
    return lines


def _tried(row: TableRow, seeds: int) -> list[list[str]]:
    return [
        [
            row.row,
            of.words,
            f"{seed_statistics(of.seeds).mean:.2f}" if of.seeds else DASH,
            ", ".join(f"{accuracy:.2f}" for accuracy in of.seeds)
            + ("" if len(of.seeds) == seeds else f" ({len(of.seeds)} of {seeds} seeds)"),
            "chosen" if of.chosen else "",
        ]
        for of in row.tried
    ]


def _rows_picture(table: ResultTable, name: str) -> Picture:
    """Draws the certified accuracy of each row, with its interval and a point for each seed."""
    rows = [row for row in table.rows if row.seeds]
    figure = new_figure(width=6.4, height=1.2 + 0.3 * len(rows))
    axes = figure.add_subplot()
    tidy(axes)
    for position, row in enumerate(rows):
        values = row.percents("certified")
        statistics = seed_statistics(values)
        half = 0.0 if statistics.interval is None else statistics.interval[1] - statistics.mean
        axes.plot(values, [position] * len(values), "|", color="grey", markersize=8)
        axes.errorbar(statistics.mean, position, xerr=half, fmt="o", color=COLOURS[0], capsize=3)
    axes.set_yticks(range(len(rows)), [row.row for row in rows], parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel="certified accuracy [%]", xlim=within_percent(axes.get_xlim()))
    said = "; ".join(f"{row.row} {seed_statistics(row.percents('certified')).mean:.2f}" for row in rows)
    caption = "Certified accuracy on test images: means with 95 % intervals, and the seeds"
    return _picture(figure, name, caption, f"{caption}: {said}")


def _tuning_pictures(table: ResultTable, name: str) -> list[Picture]:
    """Draws what each value of a tuned number reached, for some rows in each picture."""
    curves = {row.row: curve for row in table.rows if len(curve := _curve(row, table.seeds)) > 1}
    labels = list(curves)
    parts = [labels[first : first + _LINES] for first in range(0, len(labels), _LINES)]
    key = next((key for row in table.rows for of in row.tried for key in of.values), "")
    return [
        _tuning_picture({label: curves[label] for label in part}, key, f"{name}-{number}")
        for number, part in enumerate(parts, 1)
    ]


def _tuning_picture(curves: Mapping[str, Mapping[float, float]], key: str, name: str) -> Picture:
    figure, axes = _figure(len(curves))
    for number, curve in enumerate(curves.values()):
        axes.plot(*zip(*curve.items(), strict=True), marker="o", markersize=3, **line_style(number))
    axes.set(xscale="log", xlabel=key, ylabel="certified accuracy [%]")
    tried = sorted({value for curve in curves.values() for value in curve})
    axes.set_xticks(tried, [f"{value:g}" for value in tried])
    axes.minorticks_off()
    _legend(figure, axes.lines, list(curves))
    best = "; ".join(f"{label} {max(curve.values()):.2f}" for label, curve in curves.items())
    caption = f"Mean certified accuracy on held-out images over {key}"
    return _picture(figure, name, caption, f"{caption}; the highest: {best}")


def _curve(row: TableRow, seeds: int) -> dict[float, float]:
    """Returns the means over all seeds by the value, increasing; empty if the values are not single numbers."""
    curve: dict[float, float] = {}
    for of in row.tried:
        try:
            (value,) = map(float, of.values.values())
        except ValueError:
            return {}
        if value > 0 and len(of.seeds) == seeds:
            curve[value] = seed_statistics(of.seeds).mean
    return dict(sorted(curve.items()))
