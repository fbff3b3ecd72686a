"""The line between configurations that the user wrote and those that were found, and the modules of the latter.

What the user wrote on the command line, and a configuration that it names, is trusted as a script is that one runs. The
configuration of a run that somebody else may have made is data: it names what is installed and the user's own modules,
but nothing that came with it.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import CHECKPOINTS, CONFIG, METRICS

TRUST_RUN = "--trust_run"
"""The flag with which the user vouches for what was found."""


@dataclass(frozen=True)
class Trust:
    """The trust of a command line.

    Attributes:
        configs: The configurations that the user wrote, or vouches for; all others are data.
        folders: Where the user's own modules are: the working directory, and what these configurations say.
        pickles: Whether the command line itself says that objects in checkpoints are unpickled, which executes code.
    """

    configs: frozenset[Path] = frozenset()
    folders: tuple[str, ...] = ()
    pickles: bool = False


def lies_in_run(config: Path) -> bool:
    """Says whether a configuration lies in a run's directory, which others may have made."""
    return any(_is_run(folder) for folder in {config.absolute().parent, config.resolve().parent})


def _is_run(folder: Path) -> bool:
    if not (folder / CONFIG).is_file():
        return False
    return (folder / CHECKPOINTS).is_dir() or (folder / METRICS).is_file() or any(folder.glob("*.ckpt"))


def is_within(folder: Path, others: Sequence[Path]) -> bool:
    """Says whether a folder is one of others, or lies in one."""
    return any(folder.resolve().is_relative_to(other.resolve()) for other in others)


def check_module(name: Any, source: str, folders: Sequence[str], *, foreign: Sequence[str] | None) -> None:
    """Refuses a module that may not be imported, or of which it is not clear which one is meant.

    Args:
        name: The module.
        source: What names it.
        folders: Where the user's own modules are; each comes behind what is installed.
        foreign: If what names it was found, the further folders that it would have searched.

    Raises:
        ConfigurationError: The name is none, an installed module has it too, or it is named by what was found and
            neither installed nor the user's own.
    """
    if not (isinstance(name, str) and all(part.isidentifier() for part in name.split("."))):
        raise ConfigurationError(f"imports of {source} names {name!r}, which is not the name of a module")
    own, installed = _origin(_own_spec(name, folders)), _installed_spec(name)
    if own and installed and _origin(installed) != own:
        raise ConfigurationError(
            f"imports of {source} names {name}, which is {own}, but {_origin(installed) or 'a part of Python'} has "
            "that name, too, and comes first; rename the former"
        )
    if foreign is None:
        return
    if name.partition(".")[0] in sys.stdlib_module_names or "__main__" in name.split("."):
        raise ConfigurationError(f"imports of {source} names {name}, which holds no components; remove it")
    if not installed and not _own_spec(name, folders):
        raise ConfigurationError(_refusal("imports", source, name, foreign))


def check_class_paths(content: Any, source: str, folders: Sequence[str], foreign: Sequence[str]) -> None:
    """Refuses, with its name, a class of a module that only the folders hold which came with what was found.

    Args:
        content: What a configuration says.
        source: The configuration.
        folders: Where the user's own modules are.
        foreign: The folders that came with it.

    Raises:
        ConfigurationError: There is one, or one of a module that is a program.
    """
    for path in _dotted_names(content):
        if "__main__" in path.split("."):
            raise ConfigurationError(f"{source} names {path}, which is part of a program; remove it")
        if not (_installed_spec(path) or _own_spec(path, folders)) and _origin(_own_spec(path, foreign)):
            raise ConfigurationError(_refusal("class_path", source, path, foreign))


def is_own(module: str, folders: Sequence[str]) -> bool:
    """Says whether a module that is loaded is one of the user's own."""
    own, loaded = _own_spec(module, folders), getattr(sys.modules.get(module.partition(".")[0]), "__spec__", None)
    return own is not None and loaded is not None and bool(_places(own) & _places(loaded))


def _refusal(key: str, source: str, name: str, foreign: Sequence[str]) -> str:
    return (
        f"{key} of {source} names {name}, which is neither installed nor in the working directory; the configuration "
        f"was found, so only with {TRUST_RUN} are modules also taken from {', '.join(foreign)}"
    )


def _dotted_names(content: Any) -> Iterator[str]:
    if isinstance(content, Mapping):
        for value in content.values():
            yield from _dotted_names(value)
    elif isinstance(content, list):
        for value in content:
            yield from _dotted_names(value)
    elif isinstance(content, str) and "." in content and all(part.isidentifier() for part in content.split(".")):
        yield content


def _own_spec(name: str, folders: Sequence[str]) -> ModuleSpec | None:
    return PathFinder.find_spec(name.partition(".")[0], list(folders))


def _installed_spec(name: str) -> ModuleSpec | None:
    """Finds the topmost package of a module, and imports nothing."""
    top = name.partition(".")[0]
    specs = (finder.find_spec(top, None) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def _origin(spec: ModuleSpec | None) -> str | None:
    """The file of a module; None of one that has none: of a built-in one, or of a folder that is no regular package."""
    return str(Path(spec.origin).resolve()) if spec is not None and spec.has_location and spec.origin else None


def _places(spec: ModuleSpec) -> set[str | None]:
    """The file of a module, or else the folders of its package."""
    return {_origin(spec)} - {None} or {str(Path(place).resolve()) for place in spec.submodule_search_locations or ()}
