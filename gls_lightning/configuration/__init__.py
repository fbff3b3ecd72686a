"""Configurations: finding, composing and trusting them."""

from gls_lightning.configuration.composition import SHIPPED, Composition, as_list, compose
from gls_lightning.configuration.files import find_config, shipped
from gls_lightning.configuration.found_values import check_arguments, check_values, restrict_parsers
from gls_lightning.configuration.trust import (
    TRUST_RUN,
    Foreign,
    Trust,
    check_class_paths,
    check_module,
    guard_imports,
    is_within,
    release_imports,
    runs_around,
    unpacked_with,
)

__all__ = [
    "SHIPPED",
    "TRUST_RUN",
    "Composition",
    "Foreign",
    "Trust",
    "as_list",
    "check_arguments",
    "check_class_paths",
    "check_module",
    "check_values",
    "compose",
    "find_config",
    "guard_imports",
    "is_within",
    "release_imports",
    "restrict_parsers",
    "runs_around",
    "shipped",
    "unpacked_with",
]
