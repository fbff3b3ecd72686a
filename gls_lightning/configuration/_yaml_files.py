"""YAML, read strictly: a key that a mapping gives twice is an error, not the last one's value."""

from pathlib import Path
from typing import Any

import yaml

from gls_lightning.errors import ConfigurationError


def read_yaml(path: Path) -> Any:
    """Reads a file, of plain values alone.

    Raises:
        ConfigurationError: The file is no valid YAML, or a mapping in it gives a key twice.
    """
    try:
        return parse_yaml(path.read_text(), str(path))
    except ConfigurationError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an encoding, a date that is none
        raise ConfigurationError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error


def parse_yaml(text: str, source: str) -> Any:
    """Parses a text.

    Args:
        text: YAML.
        source: Where it is from, for the message.

    Raises:
        yaml.YAMLError: It is no valid YAML.
        ConfigurationError: A mapping in it gives a key twice.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        _check(node, source, above=[], checked=set())
        return loader.construct_document(node) if node else None
    finally:
        loader.dispose()


def _check(node: yaml.Node | None, source: str, *, above: list[yaml.Node], checked: set[int]) -> None:
    """Refuses a key that stands twice in one mapping, and a value that contains itself."""
    if node in above:
        raise yaml.YAMLError(f"a value contains itself, in line {node.start_mark.line + 1}")
    if id(node) in checked or not isinstance(node, yaml.CollectionNode):
        return
    inner = node.value
    if isinstance(node, yaml.MappingNode):
        _require_unique([key for key, _ in node.value], source)
        inner = [value for _, value in node.value]
    for value in inner:
        _check(value, source, above=[*above, node], checked=checked)
    checked.add(id(node))


def _require_unique(keys: list[yaml.Node], source: str) -> None:
    lines = dict[tuple[str, str], int]()
    for key in keys:
        if not isinstance(key, yaml.ScalarNode):
            continue
        name, line = (key.tag, key.value), key.start_mark.line + 1
        if name in lines:
            raise ConfigurationError(
                f"{source} gives the key {key.value!r} twice, in lines {lines[name]} and {line}; keep one of them"
            )
        lines[name] = line
