"""The configuration of a run, flat."""

from collections.abc import Iterator, Mapping
from typing import Any

from gls_lightning.reports._document import DASH

FlatConfig = Mapping[str, Any]
"""A configuration with one dotted key for each value; without those that are null or empty."""

MODEL = "model.init_args"
SEED = "seed_everything"


def flatten(config: Any, prefix: str = "") -> FlatConfig:
    """Returns the values of nested sections by their dotted keys."""
    return dict(_items(config, prefix))


def _items(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _items(inner, f"{key}.{name}" if key else str(name))
    elif value is not None and value != []:
        yield key, value


def choices(config: FlatConfig) -> dict[str, str]:
    """Returns the important choices, a word each; a dash for an option that is not set or not the component's."""
    return {
        "network": _component(config, f"{MODEL}.network"),
        "data": _component(config, "data"),
        "epsilon": _value(config.get(f"{MODEL}.epsilon")),
        "relaxation": _component(config, f"{MODEL}.relaxation"),
        "objective": _component(config, f"{MODEL}.objective"),
        "estimator": _component(config, f"{MODEL}.estimator"),
        "sigma": _value(config.get(f"{MODEL}.estimator.init_args.sigma")),
        "population size": _value(config.get(f"{MODEL}.estimator.init_args.population_size")),
        "optimizer": _component(config, f"{MODEL}.optimizer"),
        "learning rate": _value(config.get(f"{MODEL}.optimizer.init_args.lr")),
        "epochs": _value(config.get("trainer.max_epochs")),
        "seed": _value(config.get(SEED)),
    }


def _component(config: FlatConfig, key: str) -> str:
    """Returns the name of a class."""
    return str(config.get(f"{key}.class_path", config.get(key, "default"))).rpartition(".")[2]


def _value(value: Any) -> str:
    if value is None:
        return DASH
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def number(config: FlatConfig, key: str) -> float | None:
    """Returns the number at a key, if there is one."""
    value = config.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
