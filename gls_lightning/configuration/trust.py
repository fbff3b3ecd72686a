"""The line between configurations that the user wrote and those that were found, and the modules of the latter.

What the user wrote on the command line, and a configuration that it names, is trusted as a script is that one runs. The
configuration of a run that somebody else may have made is data: it names what is installed and the user's own modules,
but nothing that came with it.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import is_run

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


class Foreign(NamedTuple):
    """Folders and runs that came with a configuration that was found.

    Attributes:
        folders: Where it would have its modules looked for.
        runs: The directories that it was found in.
    """

    folders: Sequence[str]
    runs: Sequence[Path]


def runs_around(config: Path) -> list[Path]:
    """Finds the directories of runs, which others may have made, that a configuration lies in.

    The working directory is one only for the files right in it, and what is above does not count for what lies below: a
    project with the files of a run at its root keeps its configurations.
    """
    around = {folder for folder in {config.absolute().parent, config.resolve().parent} if is_run(folder)}
    return sorted(around | {folder for folder in _folders_around(config, [Path.cwd()]) if is_run(folder)})


def unpacked_with(run: Path) -> list[Path]:
    """Adds to a run's directory the folder of the working directory that holds it and may have come with it."""
    here, place = Path.cwd(), run.absolute()
    between = place.relative_to(here).parts[:1] if place.is_relative_to(here) else ()
    return [run, *(here / part for part in between)]


def _folders_around(file: Path, roots: Iterable[Path]) -> set[Path]:
    """Finds the folders that a file lies in below the roots, or all if it lies in none; also by way of links."""
    ends = {place for root in roots for place in (root.absolute(), root.resolve())}
    named = _below(file.absolute(), ends)
    ways = [file.resolve(), *(folder.resolve() / file.name for folder in named)]
    return {*named, *(folder for way in ways for folder in _below(way, ends))}


def _below(file: Path, ends: set[Path]) -> list[Path]:
    folders = list(file.parents)
    return folders[: next((position for position, folder in enumerate(folders) if folder in ends), None)]


def _came_with(file: str, folders: Sequence[str], runs: Sequence[Path]) -> bool:
    """Says whether a module's file lies in a run below the folder where the search for the module began."""
    around = _folders_around(Path(file), [Path(folder) for folder in (*folders, *sys.path)])
    return any(is_run(folder) for folder in around) or any(run.resolve() in around for run in runs)


def is_within(folder: Path, others: Sequence[Path]) -> bool:
    """Says whether a folder is one of others, or lies in one."""
    return any(folder.resolve().is_relative_to(other.resolve()) for other in others)


def check_module(name: Any, source: str, folders: Sequence[str], *, foreign: Foreign | None) -> None:
    """Refuses a module that may not be imported, or of which it is not clear which one is meant.

    Args:
        name: The module.
        source: What names it.
        folders: Where the user's own modules are; each comes behind what is installed.
        foreign: If what names it was found, what came with it.

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
    specs = _way_to(name, folders)
    is_whole = len(specs) == name.count(".") + 1 or (installed is not None and installed.origin is not None)
    if not is_whole or any(_came_with(place, folders, foreign.runs) for place in _files(specs)):
        raise ConfigurationError(_refusal("imports", source, name, foreign.folders))


def check_class_paths(content: Any, source: str, folders: Sequence[str], foreign: Foreign) -> None:
    """Refuses, with its name, a class of a module that came with what was found.

    Args:
        content: What a configuration says.
        source: The configuration.
        folders: Where the user's own modules are.
        foreign: What came with it.

    Raises:
        ConfigurationError: There is one, or one of a module that is a program.
    """
    for path in _dotted_names(content):
        if "__main__" in path.split("."):
            raise ConfigurationError(f"{source} names {path}, which is part of a program; remove it")
        known = _installed_spec(path) or _own_spec(path, folders)
        if (known is None and _origin(_own_spec(path, foreign.folders))) or any(
            _came_with(place, folders, foreign.runs) for place in _files(_way_to(path, folders))
        ):
            raise ConfigurationError(_refusal("class_path", source, path, foreign.folders))


class _Guard(MetaPathFinder):
    """Refuses to import modules from runs, whatever names them: a parser imports what it reads, file by file."""

    def __init__(self, folders: Sequence[str], runs: Sequence[Path]) -> None:
        self.folders, self.runs = folders, runs

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds nothing, so that the next finder is asked.

        Raises:
            ModuleNotFoundError: The module lies in a run.
        """
        origin = _origin_as_named(PathFinder.find_spec(fullname, path))
        if origin is not None and _came_with(origin, self.folders, self.runs):
            raise ModuleNotFoundError(
                f"{fullname} is {origin}, a file of a run that was found; only with {TRUST_RUN} is it imported",
                name=fullname,
            )
        return None


def guard_imports(folders: Sequence[str], runs: Sequence[Path]) -> None:
    """Refuses modules of runs from now on, in the whole process; see ``release_imports``."""
    release_imports()
    sys.meta_path.insert(0, _Guard(folders, runs))


def release_imports() -> None:
    """Takes the guard of an earlier command line away."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Guard)]


@contextmanager
def guarded_imports(folders: Sequence[str], runs: Sequence[Path]) -> Iterator[None]:
    """Refuses modules of runs for a while."""
    guard = _Guard(folders, runs)
    sys.meta_path.insert(0, guard)
    try:
        yield
    finally:
        sys.meta_path.remove(guard)


def is_own(module: str, folders: Sequence[str]) -> bool:
    """Says whether a module that is loaded is one of the user's own."""
    own, loaded = _own_spec(module, folders), getattr(sys.modules.get(module.partition(".")[0]), "__spec__", None)
    if own is None or loaded is None or not _places(own) & _places(loaded):
        return False
    origin = _origin_as_named(getattr(sys.modules.get(module), "__spec__", None))
    return origin is None or not _came_with(origin, folders, ())


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
    specs = (finder.find_spec(top, None) for finder in sys.meta_path if not isinstance(finder, _Guard))
    return next((spec for spec in specs if spec is not None), None)


def _way_to(name: str, folders: Sequence[str]) -> list[ModuleSpec]:
    """Finds the packages on the way to a module, and the module, as far as there are any; imports nothing."""
    specs, places = list[ModuleSpec](), [*sys.path, *folders]
    for part in name.split("."):  # without the names of its parents, which finders look for among what is imported
        spec = PathFinder.find_spec(part, places)
        if spec is None and not specs:
            spec = _installed_spec(part)
        if spec is None:
            break
        specs.append(spec)
        places = list(spec.submodule_search_locations or ())
    return specs


def _files(specs: Sequence[ModuleSpec]) -> list[str]:
    """Lists the files that are executed on the way to a module; if it has none, what is in its folders."""
    last = [str(Path(place, "any.py")) for spec in specs[-1:] for place in spec.submodule_search_locations or ()]
    return [*filter(None, map(_origin_as_named, specs)), *last]


def _origin_as_named(spec: ModuleSpec | None) -> str | None:
    return spec.origin if spec is not None and spec.has_location else None


def _origin(spec: ModuleSpec | None) -> str | None:
    """Finds the file of a module; None if it has none, as a built-in one or a folder without ``__init__``."""
    return str(Path(spec.origin).resolve()) if spec is not None and spec.has_location and spec.origin else None


def _places(spec: ModuleSpec) -> set[str | None]:
    """Finds the file of a module, or else the folders of its package."""
    return {_origin(spec)} - {None} or {str(Path(place).resolve()) for place in spec.submodule_search_locations or ()}
