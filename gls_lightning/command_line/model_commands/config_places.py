"""Places of keys in the files of a configuration."""

from collections.abc import Iterable
from pathlib import Path

import yaml

_TRANSPARENT = ("init_args", "dict_kwargs")
"""Keys that a user may leave out on the command line."""


def place(key: str, files: Iterable[Path]) -> str:
    """Finds file and line of a key, such as ``mine.yaml, line 3``; empty if it stands in none of the files.

    Args:
        key: The key with those above it, such as ``model.estimator.sigma``.
        files: The files, the one that rules last.
    """
    for file in list(files)[::-1]:
        try:
            line = _line(yaml.compose(file.read_text(), yaml.SafeLoader), key.split("."))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        if line is not None:
            return f"{file}, line {line + 1}"
    return ""


def _line(node: yaml.Node | None, path: list[str]) -> int | None:
    """Finds the line, counted from 0."""
    found: list[int | None] = []
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value.removesuffix("+") == path[0]:
                found.append(name.start_mark.line if len(path) == 1 else _line(value, path[1:]))
            elif name.value in _TRANSPARENT:
                found.append(_line(value, path))
    elif isinstance(node, yaml.SequenceNode):
        found = [_line(item, path) for item in node.value]
    return next((line for line in found if line is not None), None)
