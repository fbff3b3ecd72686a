"""Configurations that are composed of others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gls_lightning.arguments import alternatives, require
from gls_lightning.configuration._yaml_files import read_yaml
from gls_lightning.errors import ConfigurationError

SHIPPED = Path(__file__).parents[1] / "configs"
BASES = "bases"
"""The key of a configuration that lists what it is composed of."""
IMPORTS = "imports", "import_paths"
"""Lists that add up, because each of the files needs its own."""
PAPER = "paper"
"""The published accuracies of this very configuration, which a variation of it does not inherit."""


class Composition(NamedTuple):
    """The content of a configuration and its bases together.

    Attributes:
        content: As one file would say it, without the key ``bases``.
        files: All files that it comes from, the configuration itself last.
    """

    content: dict[str, Any]
    files: tuple[Path, ...]


def compose(config: Path, above: tuple[Path, ...] = ()) -> Composition:
    """Reads a configuration and merges it over its bases, in their order.

    Bases are files relative to the configuration, or names of shipped configurations, and may have bases themselves.

    Args:
        config: The file.
        above: The configurations that led to this one, outermost first.

    Raises:
        ConfigurationError: A file cannot be read, a base is not found or its own base, or ``bases`` is no list.
    """
    if config.resolve() in [path.resolve() for path in above]:
        raise ConfigurationError(f"bases lead in a circle: {' -> '.join(map(str, (*above, config)))}")
    own = _read(config)
    content, files = dict[str, Any](), tuple[Path, ...]()
    for name in _bases(own.pop(BASES, []), config):
        base = compose(_find_base(name, config), (*above, config))
        content, files = _over(content, base.content), files + base.files
    content.pop(PAPER, None)
    for key in IMPORTS:
        as_list(own.get(key), f"{key} of {config}")
    return Composition(_over(content, own), (*files, config))


def as_list(value: Any, name: str) -> list[str]:
    """Reads names, which may be a list, a single one, or either written as YAML.

    Args:
        value: What was given; None for no names.
        name: What it was given as, for the message.

    Raises:
        ConfigurationError: It is something else.
    """
    try:
        parsed = yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError:
        parsed = False
    names = [parsed] if isinstance(parsed, str) else [] if parsed is None else parsed
    fits = isinstance(names, list) and all(isinstance(each, str) for each in names)
    require(fits, name, value, "a list of names")
    return list(names)


def merge(lower: Any, upper: Any) -> Any:
    """Merges a later section of a configuration over an earlier one.

    Mappings merge key by key; anything else is replaced, and so is a section whose class changes, with all its
    arguments. A list under a key that ends with ``+`` is appended.
    """
    if isinstance(lower, str) and isinstance(upper, Mapping) and "init_args" in upper and "class_path" not in upper:
        lower = {"class_path": lower}  # the short form of a class without arguments
    if not (isinstance(lower, Mapping) and isinstance(upper, Mapping)) or _is_another_class(lower, upper):
        return upper
    merged = dict(lower)
    for key, value in upper.items():
        plain = str(key).removesuffix("+")
        if plain != key and (longer := next((name for name in (plain, key) if name in lower), None)):
            added = value if isinstance(value, list) else [value]
            merged[longer] = [*(lower[longer] or []), *added]
        else:
            merged.pop(f"{plain}+", None)
            merged[key] = merge(lower[key], value) if key in lower else value
    return merged


def _over(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """Merges one whole configuration over another."""
    merged: dict[str, Any] = merge(lower, upper)
    for key in IMPORTS:
        if names := [*as_list(lower.get(key), key), *as_list(upper.get(key), key)]:
            merged[key] = list(dict.fromkeys(names))
    return merged


def _is_another_class(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> bool:
    """Says whether both name a class, and not the same; a bare name is the same as a path that ends with it."""
    names = [section.get("class_path") for section in (lower, upper)]
    if not all(isinstance(name, str) for name in names):
        return False
    short, long = sorted(map(str, names), key=len)
    return not f".{long}".endswith(f".{short}")


def _bases(value: Any, config: Path) -> list[str]:
    fits = isinstance(value, list) and all(isinstance(name, str) for name in value)
    require(fits, f"bases of {config}", value, "a list of configurations")
    return list(value)


def _find_base(name: str, config: Path) -> Path:
    for path in (config.parent / name, SHIPPED / name):
        if path.is_file():
            return path
    names = [path.relative_to(SHIPPED).as_posix() for path in SHIPPED.rglob("*.yaml")]
    names += [path.name for path in (config.parent / name).parent.glob("*.yaml")]
    raise ConfigurationError(
        f"bases of {config} names {name}, which is neither a file relative to it nor a shipped configuration"
        + alternatives(name, names)
    )


def _read(config: Path) -> dict[str, Any]:
    content = read_yaml(config)
    if not isinstance(content, dict | None):
        raise ConfigurationError(f"{config} holds {content!r}, not keys and their values")
    return content or {}
