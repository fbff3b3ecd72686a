"""Reports of training runs, from the files that they left behind; without PyTorch, so that they start fast."""

from gls_lightning.reports._metric_table import read_metrics
from gls_lightning.reports.command_sections import command_sections
from gls_lightning.reports.front_section import front_section
from gls_lightning.reports.report import make_report
from gls_lightning.reports.run_config import FlatConfig, flatten
from gls_lightning.reports.run_groups import settings
from gls_lightning.reports.run_search import find_runs
from gls_lightning.reports.seed_statistics import SeedStatistics, seed_statistics
from gls_lightning.reports.selection import held_out_images, selection
from gls_lightning.reports.table_section import row_table, table_notes, table_section
from gls_lightning.reports.writing import write_report

__all__ = [
    "FlatConfig",
    "SeedStatistics",
    "command_sections",
    "find_runs",
    "flatten",
    "front_section",
    "held_out_images",
    "make_report",
    "read_metrics",
    "row_table",
    "seed_statistics",
    "selection",
    "settings",
    "table_notes",
    "table_section",
    "write_report",
]
