"""A run on disk: names and places of its files, writing them whole, and reading those with results."""

from gls_lightning.run_files.accuracies import ACCURACIES, ACCURACY_METRICS
from gls_lightning.run_files.accuracy_over_budget import AccuracyOverBudget
from gls_lightning.run_files.certification_summary import RECORDS, CertificationSummary, Share
from gls_lightning.run_files.checksum import is_archive, is_damaged, seal
from gls_lightning.run_files.evaluated_metrics import EvaluatedMetrics
from gls_lightning.run_files.front_file import FrontFile, FrontPoint, FrontTrial
from gls_lightning.run_files.landscape_files import (
    PICTURES,
    LandscapeDescription,
    epoch_landscape,
    epoch_landscapes,
    picture_file,
    table_file,
)
from gls_lightning.run_files.origin import RunOrigin, origin_of_run, provenance
from gls_lightning.run_files.places import (
    CHECKPOINTS,
    CONFIG,
    HPARAMS,
    METRICS,
    PRUNED,
    REPORT,
    RUNS,
    config_of_checkpoint,
    evaluation_directory,
    evaluation_files,
    is_run,
    metrics_files,
    run_of_checkpoint,
    run_of_folder,
    set_metrics_aside,
)
from gls_lightning.run_files.result_file import DAMAGE, ResultFile
from gls_lightning.run_files.result_table import ResultTable, TableRow, TriedSettings
from gls_lightning.run_files.tightness_curves import RelaxationCurve, TightnessCurves
from gls_lightning.run_files.whole_file import STORAGE_ERRORS, append_whole, flush, write_or_undo, write_whole

__all__ = [
    "ACCURACIES",
    "ACCURACY_METRICS",
    "CHECKPOINTS",
    "CONFIG",
    "DAMAGE",
    "HPARAMS",
    "METRICS",
    "PICTURES",
    "PRUNED",
    "RECORDS",
    "REPORT",
    "RUNS",
    "STORAGE_ERRORS",
    "AccuracyOverBudget",
    "CertificationSummary",
    "EvaluatedMetrics",
    "FrontFile",
    "FrontPoint",
    "FrontTrial",
    "LandscapeDescription",
    "RelaxationCurve",
    "ResultFile",
    "ResultTable",
    "RunOrigin",
    "Share",
    "TableRow",
    "TightnessCurves",
    "TriedSettings",
    "append_whole",
    "config_of_checkpoint",
    "epoch_landscape",
    "epoch_landscapes",
    "evaluation_directory",
    "evaluation_files",
    "flush",
    "is_archive",
    "is_damaged",
    "is_run",
    "metrics_files",
    "origin_of_run",
    "picture_file",
    "provenance",
    "run_of_checkpoint",
    "run_of_folder",
    "seal",
    "set_metrics_aside",
    "table_file",
    "write_or_undo",
    "write_whole",
]
