"""The report of runs."""

from collections.abc import Sequence
from pathlib import Path

from gls_lightning.reports._budget_sections import budget_section
from gls_lightning.reports._comparison_sections import comparison_section
from gls_lightning.reports._document import Section
from gls_lightning.reports._run import read_runs
from gls_lightning.reports._run_sections import curves_section, run_section
from gls_lightning.reports._settings_sections import settings_section
from gls_lightning.reports.run_groups import group_runs


def make_report(directories: Sequence[Path], title: str | None = None, commands: Sequence[Section] = ()) -> Section:
    """Makes the report of at least one run.

    Args:
        directories: Where the runs are.
        title: The heading, by default the run's name or the number of runs.
        commands: Sections about the searches and tables that the runs are of.
    """
    runs = read_runs(directories)
    default = f"Report of {runs[0].name}" if len(runs) == 1 else f"Report of {len(runs)} runs"
    groups = group_runs(runs)
    parts = comparison_section(groups), budget_section(groups), curves_section(groups), settings_section(groups)
    about_runs = [run_section(run, number) for number, run in enumerate(runs, 1)]
    return Section(title or default, sections=[*commands, *(part for part in parts if part), *about_runs])
