"""A certifier's options, for the records."""

import math
from collections import Counter
from typing import Any

from gls_lightning.attacks import Attack
from gls_lightning.certification.branch_and_bound import BranchAndBound
from gls_lightning.certification.certifier import Certifier
from gls_lightning.certification.stages import Stage
from gls_lightning.relaxations import Relaxation

_COMPONENTS = Attack | Relaxation | BranchAndBound


def describe(certifier: Certifier) -> dict[str, Any]:
    """Describes the certifier's options and its stages, by their names, as values of JSON.

    A stage is described by the class and the options of the component that it runs, or by its own. If several stages
    have one name, numbers distinguish them from the second on.
    """
    stages: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    for stage in certifier.stages:
        seen[stage.name] += 1
        name = stage.name if seen[stage.name] == 1 else f"{stage.name} {seen[stage.name]}"
        stages[name] = _stage(stage)
    return {"batch_size": certifier.batch_size, "stages": stages}


def _stage(stage: Stage) -> dict[str, Any]:
    options = {name: value for name, value in vars(stage).items() if name != "name"}
    components = [name for name, value in options.items() if isinstance(value, _COMPONENTS)]
    if len(components) != 1:
        return {"class": type(stage).__name__, **_options(options)}
    return {**_plain(options.pop(components[0])), **_options(options)}


def _options(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in attributes.items() if not name.startswith("_")}


def _plain(value: Any) -> Any:
    """Converts a value to JSON; a component becomes its class and options, any other object its class."""
    if isinstance(value, _COMPONENTS):
        return {"class": type(value).__name__, **_options(vars(value))}
    if isinstance(value, list | tuple):
        return [_plain(element) for element in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float | str | None) else {"class": type(value).__name__}
