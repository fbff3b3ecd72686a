"""The steps before parsing: find a checkpoint's configuration, decide on trust, import components."""

import json
import sys
from collections.abc import Sequence
from importlib import import_module, invalidate_caches
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

from gls_lightning.command_line.early_options import EarlyOptions, read_early_options
from gls_lightning.configuration import (
    TRUST_RUN,
    Composition,
    Foreign,
    Trust,
    as_list,
    check_class_paths,
    check_module,
    compose,
    find_config,
    guard_imports,
    is_within,
    release_imports,
    runs_around,
    unpacked_with,
)
from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import config_of_checkpoint, run_of_checkpoint

COMPONENTS = "gls_lightning.components"
"""Entry points of this group are imported before a command line is parsed."""


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

    A command with a checkpoint but no configuration gets that of the checkpoint's run. Modules that a configuration or
    the command line names under ``imports``, and the entry points of installed components, are imported. They are
    looked for among what is installed, then in the working directory, beside each configuration and its bases, and
    where ``import_paths`` say; of a configuration that was found, in the working directory alone. The words then name
    these folders, so that the run's record does.

    Raises:
        ConfigurationError: A configuration or a module cannot be found, a configuration cannot be read, or one that was
            found names a module that came with it.
    """
    release_imports()
    options = read_early_options(words)
    if options.ckpt_path is not None and not options.config:
        sources, words = _source_of_checkpoint(Path(options.ckpt_path), options, words)
    else:
        sources = [_source(name, options) for name in options.config]
    trust = Trust(
        configs=frozenset(source.config.resolve() for source in sources if not source.runs),
        folders=tuple(_own_folders(sources, options)),
        pickles=options.pickles,
    )
    if _import_components(sources, options, trust.folders):
        words = [*words, f"--import_paths={json.dumps(trust.folders)}"]
    return Prepared(words, [source.config for source in sources], trust)


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
        return list(dict.fromkeys([*beside, *self.names("import_paths")]))

    def names(self, key: str) -> list[str]:
        """Reads the list that it has under a key."""
        return as_list(self.composition.content.get(key), f"{key} of {self.config}")


def _source_of_checkpoint(checkpoint: Path, options: EarlyOptions, words: list[str]) -> tuple[list[_Source], list[str]]:
    """Reads the configuration of the checkpoint's run, if it has one, and lets the words name it."""
    if not checkpoint.is_file():
        raise ConfigurationError(f"--ckpt_path is {checkpoint}, where there is no file; without one, give --config")
    config = config_of_checkpoint(checkpoint)
    if config is None:
        return [], words
    source = _source(str(config), options, of_run=run_of_checkpoint(checkpoint))
    return [source], [*words[:1], "--config", str(config), *words[1:]]


def _source(name: str, options: EarlyOptions, of_run: Path | None = None) -> _Source:
    """Reads a configuration, and decides whether it is trusted; one that a checkpoint's run brings is not."""
    config = find_config(name)
    composition = compose(config)
    if TRUST_RUN[2:] in composition.content:
        raise ConfigurationError(f"{config} says {TRUST_RUN[2:]}, which only the flag {TRUST_RUN} can; remove it")
    if options.trust_run:
        return _Source(config, composition, [])
    runs = [run for file in composition.files for run in runs_around(file)]
    if of_run is not None or Path(name).is_dir():
        runs += [config.parent, *runs_around(config), *([] if of_run is None else [of_run])]
    return _Source(config, composition, [folder for run in runs for folder in unpacked_with(run)])


def _own_folders(sources: list[_Source], options: EarlyOptions) -> list[str]:
    """Folders of the user's own modules: never in the directory of a run that was found, unless the user says so."""
    cwd = Path.cwd()
    here = [] if is_within(cwd, [run for source in sources for run in source.runs]) else [str(cwd)]
    if not here:  # python -m and -c have put it there
        sys.path[:] = [path for path in sys.path if Path(path).resolve() != cwd.resolve()]
    beside = [folder for source in sources if not source.runs for folder in source.folders]
    given = [folder for value in options.import_paths for folder in as_list(value, "--import_paths")]
    return list(dict.fromkeys([*here, *beside, *given]))


def _import_components(sources: list[_Source], options: EarlyOptions, folders: Sequence[str]) -> bool:
    """Imports what is named, if that is allowed; says whether anything was."""
    for entry_point in entry_points(group=COMPONENTS):  # before further folders count as places of what is installed
        entry_point.load()
    invalidate_caches()
    named = list[tuple[str, str, Foreign | None]]()
    for value in options.imports:
        named += [(name, "--imports", None) for name in as_list(value, "--imports")]
    for source in sources:
        named += [(name, str(source.config), source.foreign) for name in source.names("imports")]
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
