"""How a certifier is set up, for the record."""

import math
from typing import Any

from gls_lightning.attacks import Attack
from gls_lightning.certification.branch_and_bound import BranchAndBound
from gls_lightning.certification.certifier import Certifier
from gls_lightning.relaxations import Relaxation


def describe(certifier: Certifier) -> dict[str, Any]:
    """The certifier's options, and those of its stages by their names, as values that JSON can hold."""
    return {
        "batch_size": certifier.batch_size,
        "stages": {stage.name: _options(stage) for stage in certifier.stages},
    }


def _options(component: object) -> dict[str, Any]:
    """The public attributes of a component that are plain values, or components themselves."""
    options: dict[str, Any] = {}
    for name, value in vars(component).items():
        if isinstance(value, Attack | Relaxation | BranchAndBound):
            options |= {"class": type(value).__name__, **_options(value)}
        elif isinstance(value, float) and not math.isfinite(value):
            options[name] = str(value)
        elif not name.startswith("_") and name != "name" and isinstance(value, bool | int | float | str | None):
            options[name] = value
    return options
