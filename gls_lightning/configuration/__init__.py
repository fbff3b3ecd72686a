"""Configurations: finding, composing and trusting them."""

from gls_lightning.configuration.composition import SHIPPED, compose
from gls_lightning.configuration.files import find_config, prepare, shipped
from gls_lightning.configuration.found_values import check_arguments, check_values, restrict_parsers
from gls_lightning.configuration.trust import TRUST_RUN, Trust

__all__ = [
    "SHIPPED",
    "TRUST_RUN",
    "Trust",
    "check_arguments",
    "check_values",
    "compose",
    "find_config",
    "prepare",
    "restrict_parsers",
    "shipped",
]
