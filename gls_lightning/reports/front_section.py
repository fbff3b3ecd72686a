"""The front of natural and certified accuracy that a search found."""

from collections.abc import Sequence
from typing import Any

from gls_lightning.figure_style import COLOURS, new_figure, tidy
from gls_lightning.reports._document import DASH, Picture, ReportTable, Section
from gls_lightning.reports._figures import _picture, pareto_front, within_percent
from gls_lightning.reports._lines import band
from gls_lightning.reports.seed_statistics import seed_statistics
from gls_lightning.run_files import FrontFile, FrontPoint, FrontTrial


def front_section(front: FrontFile, name: str = "front") -> Section:
    """Makes the section about a search.

    Args:
        front: What it found.
        name: Begins the names of the pictures.
    """
    best = {point.trial for point in front.points}
    trials = [trial for trial in front.trials if trial.number in best]
    pictures = [_front_picture(front, trials, name), _hypervolume_picture(front, name)] if front.trials else []
    return Section(
        f"Front of {front.config}",
        text=[_about(front)],
        tables=[_table(front, trials)] if trials else [],
        pictures=pictures,
    )


def hypervolumes(trials: Sequence[FrontTrial]) -> list[float]:
    """Returns the area that the front of the first trials dominates, after each trial; 1 is perfect."""
    volumes: list[float] = []
    for count in range(1, len(trials) + 1):
        volume = before = 0.0
        for natural, certified in pareto_front((of.natural, of.certified) for of in trials[:count]):
            volume, before = volume + (natural - before) * certified, natural
        volumes.append(volume)
    return volumes


def values_text(trial: FrontTrial) -> list[str]:
    """Returns a line for each value that a trial varies, of the last part of its key."""
    shown = {key.rpartition(".")[2]: value for key, value in trial.values.items()}
    return [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items()]


def _about(front: FrontFile) -> str:
    pruned = sum(trial.pruned for trial in front.trials)
    again = (
        "Its points were trained again with other seeds, and only those networks were measured on the test images."
        if any(point.seeds for point in front.points)
        else "Its points were not trained again with other seeds, so their accuracies are those of lucky runs."
    )
    return (
        f"{len(front.trials)} trials chosen by {front.sampler}, of which {pruned} were ended early; {front.failed} "
        f"failed. The front was chosen on held-out training images. {again}"
    )


def _table(front: FrontFile, trials: Sequence[FrontTrial]) -> ReportTable:
    points = {point.trial: point for point in front.points}
    kinds = ("natural", "certified", "test_natural", "test_certified")
    rows = [
        [
            str(trial.number),
            "\n".join(values_text(trial)),
            f"{100 * trial.natural:.2f}\n{100 * trial.certified:.2f}",
            str(len(points[trial.number].seeds)),
            *(_mean(getattr(points[trial.number], kind)) for kind in kinds),
        ]
        for trial in sorted(trials, key=lambda trial: trial.natural)
    ]
    header = ["trial", "settings", "search: natural, certified", "seeds"]
    header += ["held out: natural", "held out: certified", "test: natural", "test: certified"]
    return ReportTable("Points of the front in percent: means over other seeds and 95 % intervals", header, rows)


def _mean(fractions: Sequence[float]) -> str:
    if not fractions:
        return DASH
    statistics = seed_statistics([100 * value for value in fractions])
    if statistics.interval is None:
        return f"{statistics.mean:.2f}"
    return "{:.2f}\n95 %: {:.2f} to {:.2f}".format(statistics.mean, *statistics.interval)


def _front_picture(front: FrontFile, best: Sequence[FrontTrial], name: str) -> Picture:
    figure = new_figure()
    axes = figure.add_subplot()
    tidy(axes)
    styles: list[tuple[bool, str, dict[str, Any]]] = [
        (False, "trials", {}),
        (True, "ended early", {"markerfacecolor": "none"}),
    ]
    for pruned, label, style in styles:
        group = [(100 * of.natural, 100 * of.certified) for of in front.trials if of.pruned == pruned]
        if group:
            axes.plot(*zip(*group, strict=True), "o", color="grey", markersize=4, label=label, **style)
    line = sorted((100 * of.natural, 100 * of.certified) for of in best)
    axes.plot(*zip(*line, strict=True), "o-", color=COLOURS[0], drawstyle="steps-pre", label="front of the search")
    repeated = (True, "other seeds, held out", COLOURS[1], "s"), (False, "other seeds, test", COLOURS[2], "^")
    for held_out, label, colour, marker in repeated:
        for point in (point for point in front.points if point.seeds):
            axes.errorbar(**_bars(point, held_out), color=colour, marker=marker, capsize=2, label=label)
            label = "_"  # one entry of the legend is enough
    axes.set(xlabel="natural accuracy [%]", ylabel="certified accuracy [%]")
    axes.set(xlim=within_percent(axes.get_xlim()), ylim=within_percent(axes.get_ylim()))
    axes.legend(fontsize="small")
    said = "; ".join(f"{natural:.2f} natural, {certified:.2f} certified" for natural, certified in line)
    return _picture(
        figure,
        f"{name}-accuracies",
        "Natural and certified accuracy; bars are 95 % intervals over other seeds, or reach from the one of two to the "
        "other",
        f"On the front: {said}",
    )


def _bars(point: FrontPoint, held_out: bool) -> dict[str, Any]:
    """Returns a point and the lengths of its bars, as keywords of matplotlib's ``errorbar``."""
    pair = (point.natural, point.certified) if held_out else (point.test_natural, point.test_certified)
    bars: dict[str, Any] = {}
    for axis, fractions in zip("xy", pair, strict=True):
        percents = [100 * value for value in fractions]
        bars[axis] = mean = seed_statistics(percents).mean
        low, high = band(percents) or (mean, mean)
        bars[f"{axis}err"] = [[mean - low], [high - mean]]
    return bars


def _hypervolume_picture(front: FrontFile, name: str) -> Picture:
    from matplotlib.ticker import MaxNLocator

    figure = new_figure()
    axes = figure.add_subplot()
    tidy(axes)
    volumes = hypervolumes(front.trials)
    axes.plot(range(1, len(volumes) + 1), volumes, color=COLOURS[0], drawstyle="steps-post")
    axes.set(xlabel="trials that ended", ylabel="hypervolume")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    caption = "Hypervolume of the front over trials"
    text = f"Hypervolume of the front, from accuracy 0: {volumes[-1]:.4f} after {len(volumes)} trials"
    return _picture(figure, f"{name}-hypervolume", caption, text)
