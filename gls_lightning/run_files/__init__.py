"""A run on disk: names and places of its files, and writing them whole."""

from gls_lightning.run_files.checksum import is_archive, is_damaged, seal
from gls_lightning.run_files.places import (
    CHECKPOINTS,
    CONFIG,
    EVALUATED,
    METRICS,
    config_of_checkpoint,
    evaluation_directory,
    evaluation_files,
    run_of_checkpoint,
)
from gls_lightning.run_files.provenance import provenance
from gls_lightning.run_files.whole_file import STORAGE_ERRORS, append_whole, flush, write_or_undo, write_whole

__all__ = [
    "CHECKPOINTS",
    "CONFIG",
    "EVALUATED",
    "METRICS",
    "STORAGE_ERRORS",
    "append_whole",
    "config_of_checkpoint",
    "evaluation_directory",
    "evaluation_files",
    "flush",
    "is_archive",
    "is_damaged",
    "provenance",
    "run_of_checkpoint",
    "seal",
    "write_or_undo",
    "write_whole",
]
