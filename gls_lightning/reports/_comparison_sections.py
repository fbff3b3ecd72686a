"""The parts of a report that compare runs."""

from collections.abc import Mapping, Sequence

from gls_lightning.reports._comparison import CERTIFY, VALIDATION, Measurement, measurements
from gls_lightning.reports._document import DASH, Picture, ReportTable, Section
from gls_lightning.reports._figures import Point, pareto_picture
from gls_lightning.reports._run import Run
from gls_lightning.reports.run_config import number
from gls_lightning.reports.run_groups import RunGroup
from gls_lightning.reports.seed_statistics import SeedStatistics
from gls_lightning.reports.selection import selection
from gls_lightning.run_files import ACCURACIES

EXPLANATION = (
    "Accuracies in percent: mean ± standard deviation over seeds (n - 1), and the 95 % confidence interval: Student's "
    "t over seeds, or, for one seed with a summary of gls certify, Clopper-Pearson over its images. A dash where there "
    "is none."
)


def comparison_section(groups: Sequence[RunGroup]) -> Section:
    """Compares the accuracies of each group, those of single runs, and the Pareto front."""
    runs = [run for group in groups for run in group.runs]
    rows, notes, measured = [], [], []
    for group in groups:
        by_source, unused = measurements(group)
        measured.append(by_source)
        notes += [f"{group.label}: {note}" for note in (*group.notes, *unused)]
        for measurement in by_source.values():
            cells = [_cell(measurement.statistics(name), _published(group, name)) for name in ACCURACIES]
            rows.append([_title(group), str(len(group.counted)), measurement.source, *cells])
    tables = [ReportTable("accuracies over seeds", ["configuration", "seeds", "measured by", *ACCURACIES], rows)]
    if len(runs) > 1:
        tables.append(_runs(groups))
    explanation = [EXPLANATION, *_selections(groups)]
    return Section("Accuracies", notes, explanation, tables, _pareto(groups, measured))


def _title(group: RunGroup) -> str:
    tables = group.runs[0].config.get("paper.tables")
    if not isinstance(tables, list):
        return group.label
    return f"{group.label}\npaper's {'Table' if len(tables) == 1 else 'Tables'} {', '.join(map(str, tables))}"


def _selections(groups: Sequence[RunGroup]) -> list[str]:
    """Says which images chose: a sentence for each way, with the groups if there are several ways."""
    chosen: dict[str, list[str]] = {}
    for group in groups:
        chosen.setdefault(selection(group.runs[0].config), []).append(group.label)
    said = {way: labels for way, labels in chosen.items() if way}
    whose = {way: "" if len(chosen) == 1 else f": {'; '.join(labels)}" for way, labels in said.items()}
    return [f"{way[0].upper()}{way[1:]}{whose[way]}." for way in said]


def _published(group: RunGroup, name: str) -> float | None:
    return number(group.runs[0].config, f"paper.{name}")


def _cell(statistics: SeedStatistics | None, published: float | None) -> str:
    lines = [DASH]
    if statistics:
        interval = " to ".join(f"{end:.2f}" for end in statistics.interval or ())
        deviation = DASH if statistics.deviation is None else f"{statistics.deviation:.2f}"
        lines = [f"{statistics.mean:.2f} ± {deviation}", f"95 %: {interval or DASH}"]
    if published is not None:
        difference = f"{statistics.mean - published:+.2f}" if statistics else DASH
        lines += [f"paper: {published:.2f}", f"difference: {difference}"]
    return "\n".join(lines)


def _runs(groups: Sequence[RunGroup]) -> ReportTable:
    runs = [(run, group) for group in groups for run in group.runs]
    certified = any(run.summary_at_target for run, _ in runs)
    header = ["run", "configuration", "seed", "epochs", *(f"{name}, {VALIDATION}" for name in ACCURACIES)]
    header += [*(f"{name}, {CERTIFY}" for name in ACCURACIES), f"images, {CERTIFY}"] if certified else []
    rows = [
        [run.name, group.label, run.seed or DASH, str(run.metrics.epochs), *_accuracies(run)][: len(header)]
        for run, group in runs
    ]
    return ReportTable("accuracies of each run in percent", header, rows)


def _accuracies(run: Run) -> list[str]:
    """Returns those of the last validation, and those of ``gls certify`` with the number of its images."""
    _, validated = run.metrics.last_validation()
    certified = run.summary_at_target
    sources = validated, certified.accuracies if certified else {}
    accuracies = [f"{100 * of[name]:.2f}" if name in of else DASH for of in sources for name in ACCURACIES]
    return [*accuracies, str(certified.total.samples) if certified else DASH]


def _pareto(groups: Sequence[RunGroup], measured: Sequence[Mapping[str, Measurement]]) -> list[Picture]:
    """Draws natural and certified accuracy, all by the one source that more groups have, so that the points compare."""
    by_source = {
        source: {
            group.label: found
            for group, by_source in zip(groups, measured, strict=True)
            if source in by_source and (found := _points(by_source[source]))
        }
        for source in (CERTIFY, VALIDATION)
    }
    source, points = max(by_source.items(), key=lambda item: len(item[1]))
    papers = {group.label: point for group in groups if group.label in points and (point := _paper_point(group))}
    if sum(map(len, points.values())) + len(papers) < 2:
        return []
    caption = f"certified over natural accuracy by {source}, a point for each run that counts"
    if absent := [group.label for group in groups if group.label not in points]:
        caption += f"; without: {'; '.join(absent)}"
    return [pareto_picture(points, {group.label: group.number for group in groups}, papers, caption)]


def _points(measurement: Measurement) -> list[Point]:
    return [(of["natural"], of["certified"]) for of in measurement.accuracies if {"natural", "certified"} <= of.keys()]


def _paper_point(group: RunGroup) -> Point | None:
    natural, certified = _published(group, "natural"), _published(group, "certified")
    return None if natural is None or certified is None else (natural, certified)
