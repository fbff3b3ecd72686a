"""Finds the configurations that a command line names, and imports the components that they name."""

import json
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module, invalidate_caches
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

import yaml

from gls_lightning.configuration.composition import SHIPPED, Composition, as_list, compose
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
from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import CONFIG, config_of_checkpoint, run_of_checkpoint

COMPONENTS = "gls_lightning.components"
"""Entry points of this group are imported before a command line is parsed."""
IMPORTS = "--imports", "--imports+"
"""The flags that name modules."""


class Prepared(NamedTuple):
    """A command line that is ready to be parsed.

    Attributes:
        words: Its words.
        configs: Its configurations.
        trust: What it trusts.
    """

    words: list[str]
    configs: list[Path]
    trust: Trust


def prepare(words: list[str]) -> Prepared:
    """Makes a command line ready to be parsed.

    Names of configurations become paths. A command with a checkpoint but no configuration gets that of the checkpoint's
    run. Modules that a configuration or the command line names under ``imports``, and the entry points of installed
    components, are imported. They are looked for among what is installed and then in the working directory, beside each
    configuration and its bases, and where ``import_paths`` say; of a configuration that was found, in the working
    directory alone. The command line then names these folders, so that the run's record does.

    Raises:
        ConfigurationError: A configuration or a module cannot be found, a configuration cannot be read, or one that was
            found names a module that came with it.
    """
    release_imports()
    words, recorded = _with_saved_config(words)
    sources = []
    for position, value in _options(words, "--config", "-c"):
        config = find_config(value)
        words[position] = words[position].removesuffix(value) + str(config)
        composition = compose(config)
        if TRUST_RUN[2:] in composition.content:
            raise ConfigurationError(f"{config} says {TRUST_RUN[2:]}, which only the flag {TRUST_RUN} can; remove it")
        runs = [run for file in composition.files for run in runs_around(file)]
        if recorded is not None or Path(value).is_dir():
            runs += [config.parent, *runs_around(config)]
        if recorded is not None:
            runs.append(recorded)
        runs = [folder for run in runs for folder in unpacked_with(run)]
        sources.append(_Source(config, composition, [] if TRUST_RUN in words else runs))
    trust = Trust(
        configs=frozenset(source.config.resolve() for source in sources if not source.runs),
        folders=tuple(_own_folders(sources, words)),
        pickles=any(yaml.safe_load(value) is False for _, value in _options(words, "--weights_only")),
    )
    named = _import_components(sources, words, trust.folders)
    return Prepared(
        words + [f"--import_paths={json.dumps(trust.folders)}"] * named, [source.config for source in sources], trust
    )


class _Source(NamedTuple):
    """A configuration of the command line, and the runs that it was found in, if it is not trusted."""

    config: Path
    composition: Composition
    runs: list[Path]

    @property
    def foreign(self) -> Foreign | None:
        """The folders and runs that it came with, if it is not trusted."""
        return Foreign(self.folders, self.runs) if self.runs else None

    @property
    def folders(self) -> list[str]:
        """Folders where modules may lie that it names."""
        beside = [str(file.parent.resolve()) for file in self.composition.files[::-1]]
        return list(dict.fromkeys([*beside, *as_list(self.composition.content.get("import_paths"))]))


def _own_folders(sources: list[_Source], words: list[str]) -> list[str]:
    """Folders of the user's own modules: never in the directory of a run that was found, unless the user says so."""
    cwd = Path.cwd()
    here = [] if is_within(cwd, [run for source in sources for run in source.runs]) else [str(cwd)]
    if not here:  # python -m and -c have put it there
        sys.path[:] = [path for path in sys.path if Path(path).resolve() != cwd.resolve()]
    beside = [folder for source in sources if not source.runs for folder in source.folders]
    given = [folder for _, value in _options(words, "--import_paths", "--import_paths+") for folder in as_list(value)]
    return list(dict.fromkeys([*here, *beside, *given]))


def _options(words: list[str], *names: str) -> Iterator[tuple[int, str]]:
    """Position and value of each occurrence of an option, written as ``--name value`` or ``--name=value``."""
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names and equals:
            yield position, value
        elif name in names and position + 1 < len(words):
            yield position + 1, words[position + 1]


def _with_saved_config(words: list[str]) -> tuple[list[str], Path | None]:
    """The words with the configuration of the checkpoint's run, if they name none; and the run, if they got it."""
    checkpoints = [value for _, value in _options(words, "--ckpt_path")]
    if not checkpoints or any(_options(words, "--config", "-c")):
        return list(words), None
    checkpoint = Path(checkpoints[-1])
    if not checkpoint.is_file():
        raise ConfigurationError(f"--ckpt_path is {checkpoint}, where there is no file; without one, give --config")
    config = config_of_checkpoint(checkpoint)
    if config is None:
        return list(words), None
    return [*words[:1], "--config", str(config), *words[1:]], run_of_checkpoint(checkpoint)


def find_config(name: str) -> Path:
    """The configuration of this name in the working directory, that of the run there, or among the shipped ones.

    Raises:
        ConfigurationError: There is none; the message lists near names.
    """
    for path in (Path(name), Path(name) / CONFIG, SHIPPED / name):
        if path.is_file():
            return path
    names = [*shipped(), *(path.name for path in Path.cwd().glob("*.yaml"))]
    near = ", ".join(get_close_matches(name, names, n=3, cutoff=0.4))
    raise ConfigurationError(
        f"there is no configuration {name}, here or among the shipped ones; "
        + (f"near: {near}" if near else "gls configs lists these")
    )


def shipped() -> list[str]:
    """The names of the shipped configurations, folder by folder; without the fragments, which train nothing."""
    paths = (path.relative_to(SHIPPED) for path in SHIPPED.rglob("*.yaml"))
    whole = (path for path in paths if path.parts[0] != "fragments")
    return [path.as_posix() for path in sorted(whole, key=lambda path: (path.parent, path))]


def _import_components(sources: list[_Source], words: list[str], folders: Sequence[str]) -> bool:
    """Imports what is named, if that is allowed; says whether anything was."""
    for entry_point in entry_points(group=COMPONENTS):  # before further folders count as places of what is installed
        entry_point.load()
    invalidate_caches()
    named = list[tuple[str, str, Foreign | None]]()
    for _, value in _options(words, *IMPORTS):
        named += [(name, "--imports", None) for name in as_list(value)]
    for source in sources:
        foreign = source.foreign
        named += [(name, str(source.config), foreign) for name in as_list(source.composition.content.get("imports"))]
    for name, config, foreign in named:
        check_module(name, config, folders, foreign=foreign)
    for source in sources:
        if source.foreign is not None:
            check_class_paths(source.composition.content, str(source.config), folders, source.foreign)
    sys.path += [folder for folder in folders if folder not in sys.path]
    for name, config, foreign in named:
        if foreign is None:
            _import(name, config)
    if runs := [run for source in sources for run in source.runs]:  # parsers import, too
        guard_imports(folders, runs)
    for name, config, foreign in named:
        if foreign is not None:
            _import(name, config)
    return bool(named)


def _import(name: str, source: str) -> None:
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0] and error.name != name:
            raise  # the module is there, but one that it imports is not
        raise ConfigurationError(
            f"imports of {source} names {name}, which is neither installed, nor in the working directory, nor beside "
            "the configuration, nor in its import_paths"
        ) from error
