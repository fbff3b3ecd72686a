"""Sections of a report about single runs, and their curves."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from gls_lightning.reports._document import INITIAL, ReportTable, Section
from gls_lightning.reports._evaluation_sections import metrics_section, tightness_sections
from gls_lightning.reports._figures import curve_picture
from gls_lightning.reports._landscape_sections import landscape_sections
from gls_lightning.reports._lines import BANDS, Line, line_of_epochs, single_line
from gls_lightning.reports._run import Run
from gls_lightning.reports.run_groups import RunGroup
from gls_lightning.run_files import ACCURACIES, CertificationSummary, Share

TRAINING = {"train/loss": "training loss", "epsilon": "epsilon", "sigma": "sigma", "learning_rate": "learning rate"}
VALIDATION = {f"val/{name}_accuracy": f"{name} accuracy" for name in ACCURACIES}
DIAGNOSTICS = ("landscape/", "statistics/")


def curves_section(groups: Sequence[RunGroup]) -> Section:
    """Draws the curves of training and validation, a line for each configuration."""
    runs = [run for group in groups for run in group.runs]
    notes = [f"{run.name}: {note}" for run in runs for note in (*run.metrics.notes, *_not_finite(run))]
    pictures, absent = [], []
    for metric, label in (TRAINING | VALIDATION).items():
        if lines := {group.label: line for group in groups if (line := _line(group, metric))}:
            name = f"curve-{metric.replace('/', '-').replace('_', '-')}"
            pictures.append(curve_picture(name, lines, label, percent=metric in VALIDATION))
        else:
            absent.append(label)
    text = ["Accuracies are those of validation."]
    text += [BANDS] if any(len(group.counted) > 1 for group in groups) else []
    text += [f"Not logged: {', '.join(absent)}."] if absent else []
    return Section("Curves", notes, text, pictures=pictures)


def _line(group: RunGroup, metric: str) -> Line | None:
    """Returns the line of the runs that count and have logged the metric; None if they share no epoch."""
    curves = [curve for run in group.counted if (curve := run.metrics.curve(metric))]
    line = line_of_epochs(group.number, curves) if curves else None
    return line if line and line.positions else None


def run_section(run: Run, number: int) -> Section:
    """Tells all about one run.

    Args:
        run: The run.
        number: Its number in the report.
    """
    name = f"run-{number}"
    notes = [run.config_note] if run.config_note else []
    if run.missing_epochs:
        notes.append(f"not finished: {run.missing_epochs} of {run.config['trainer.max_epochs']} epochs are missing")
    measured = metrics_section(run.directory)
    certified = _certification(run)
    parts = [*(part for part in (measured, certified) if part), *tightness_sections(run.directory, name)]
    parts += [*landscape_sections(run.directory, name), *_diagnostics(run, name)]
    if run.config_text:
        parts.append(Section("Whole configuration", code=run.config_text, folded=True))
    where = f"Directory: {run.directory}"
    return Section(f"Run {run.name}", notes, [where], sections=parts)


def _not_finite(run: Run) -> list[str]:
    return [
        f"{metric} is not finite in {'epoch' if len(epochs) == 1 else 'epochs'} {', '.join(map(str, epochs))}"
        for metric, epochs in run.metrics.not_finite().items()
    ]


def _certification(run: Run) -> Section | None:
    sections = [_summary(directory, summary) for directory, summary in run.summaries.items()]
    return Section("Certification", run.summary_notes, sections=sections) if sections or run.summary_notes else None


def _summary(directory: str, summary: CertificationSummary) -> Section:
    missing = [f"{summary.missing} more images have no record yet"] if summary.missing else []
    about = (
        f"{summary.total.samples} test images of {summary.dataset}, epsilon {summary.epsilon:.6g}, "
        f"{summary.total.seconds:.1f} seconds. Weights: {summary.checkpoint or INITIAL}"
    )
    accuracies = ReportTable(
        "accuracies in percent",
        ["accuracy", "%", "95 % interval (Clopper-Pearson)"],
        [
            [name, f"{100 * accuracy:.2f}", " to ".join(f"{100 * end:.2f}" for end in summary.interval(name))]
            for name, accuracy in summary.accuracies.items()
        ],
    )
    tables = [accuracies, _shares("verdicts", summary.verdicts), _shares("deciding stages", summary.stages)]
    return Section(f"{directory}/", missing, [about], tables)


def _shares(caption: str, shares: Mapping[str, Share]) -> ReportTable:
    rows = [[n, str(s.samples), *(f"{t:.3f}" for t in (s.seconds, s.mean, s.longest))] for n, s in shares.items()]
    header = [caption.rpartition(" ")[2].removesuffix("s"), "images", "seconds", "mean", "longest"]
    return ReportTable(caption, header, rows)


def _diagnostics(run: Run, name: str) -> list[Section]:
    """Draws the curves of the diagnostics, those of one unit in the same axes."""
    charts: dict[str, dict[str, Line]] = defaultdict(dict)
    for metric in sorted(run.metrics.values):
        if metric.startswith(DIAGNOSTICS):
            chart, line = _chart(metric)
            lines = charts[chart]
            lines[line] = single_line(len(lines), run.metrics.curve(metric))
    pictures = [
        curve_picture(f"{name}-diagnostics-{number}", lines, chart)
        for number, (chart, lines) in enumerate(charts.items())
    ]
    return [Section("Diagnostics over epochs", pictures=pictures)] if pictures else []


def _chart(metric: str) -> tuple[str, str]:
    """Returns the chart in which a diagnostic is drawn, and its line there."""
    path, _, last = metric.rpartition("/")
    if metric.startswith("landscape/"):
        relaxation, _, sigma = path.rpartition("/")
        return f"{relaxation}/{last}", sigma
    if path in ("statistics", "statistics/gradient"):
        return metric, last
    return path, last
