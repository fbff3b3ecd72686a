"""Section about the settings of the configurations, and where each run comes from."""

from collections.abc import Sequence

from gls_lightning.reports._document import DASH, ReportTable, Section
from gls_lightning.reports._run import Run
from gls_lightning.reports.run_config import choices
from gls_lightning.reports.run_groups import RunGroup, differences
from gls_lightning.run_files import RunOrigin


def settings_section(groups: Sequence[RunGroup]) -> Section:
    """Shows the choices of each configuration, those that differ first and marked, and the origin of each run."""
    chosen = [choices(group.runs[0].config) for group in groups]
    rows = [[key, *(choice[key] for choice in chosen)] for key in choices({}) if key != "seed"]
    rows.sort(key=lambda row: len(set(row[1:])) == 1)
    marked = range(sum(len(set(row[1:])) > 1 for row in rows))
    about = ["Settings in which the configurations differ stand first, in bold."] if marked else []
    settings = ReportTable("settings", ["setting", *(group.label for group in groups)], rows, marked)
    tables = [settings] if any(group.runs[0].config for group in groups) else []
    tables += [_origins(groups)] if any(run.origin != RunOrigin() for group in groups for run in group.runs) else []
    return Section("Settings", text=about, tables=tables, sections=_all_differences(groups))


def _all_differences(groups: Sequence[RunGroup]) -> list[Section]:
    rows = [[key, *values] for key, values in differences(groups).items()]
    table = ReportTable("values by configuration", ["key", *(group.label for group in groups)], rows)
    return [Section("Every key that differs", tables=[table], folded=True)] if rows else []


def _origins(groups: Sequence[RunGroup]) -> ReportTable:
    header = ["run", "configuration", "seed", "started", "duration", "version", "commit"]
    return ReportTable("origin of the runs", header, [_origin(group, run) for group in groups for run in group.runs])


def _origin(group: RunGroup, run: Run) -> list[str]:
    origin = run.origin
    started = origin.started and f"{origin.started:%Y-%m-%d %H:%M} UTC"
    about = [run.seed, started, _duration(origin.seconds), origin.version, origin.commit[:12] + origin.changed]
    return [run.name, group.label, *(text or DASH for text in about)]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return DASH
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"
