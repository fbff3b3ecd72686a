"""Finds the configurations that a command line names, and imports the components that they name."""

import json
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from gls_lightning.config_composition import SHIPPED, as_list, compose
from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import config_of_checkpoint

COMPONENTS = "gls_lightning.components"
"""Entry points of this group are imported before a command line is parsed."""


def prepare(words: list[str]) -> tuple[list[str], list[Path]]:
    """Makes a command line ready to be parsed.

    Names of configurations become paths. A command with a checkpoint but no configuration gets that of the checkpoint's
    run. Modules that a configuration or the command line names under ``imports``, and the entry points of installed
    components, are imported; they are looked for in the working directory, beside each configuration and its bases, and
    where the configurations' ``import_paths`` say. The command line then names these folders, so that the run's record
    does.

    Returns:
        The command line, and its configurations.

    Raises:
        ConfigurationError: A configuration or a module cannot be found, or a configuration cannot be read.
    """
    words = _with_saved_config(words)
    configs = []
    for position, value in _options(words, "--config", "-c"):
        configs.append(find_config(value))
        words[position] = words[position].removesuffix(value) + str(configs[-1])
    composed = {str(config): compose(config) for config in configs}
    imports = {name: as_list(composition.content.get("imports")) for name, composition in composed.items()}
    imports["--imports"] = [n for _, value in _options(words, "--imports", "--imports+") for n in as_list(value)]
    beside = (str(file.parent.resolve()) for composition in composed.values() for file in composition.files[::-1])
    saved = (path for composition in composed.values() for path in as_list(composition.content.get("import_paths")))
    folders = list(dict.fromkeys([str(Path.cwd()), *beside, *saved]))
    _import_components(imports, folders)
    return words + [f"--import_paths={json.dumps(folders)}"] * any(imports.values()), configs


def _options(words: list[str], *names: str) -> Iterator[tuple[int, str]]:
    """Position and value of each occurrence of an option, written as ``--name value`` or ``--name=value``."""
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names and equals:
            yield position, value
        elif name in names and position + 1 < len(words):
            yield position + 1, words[position + 1]


def _with_saved_config(words: list[str]) -> list[str]:
    checkpoints = [value for _, value in _options(words, "--ckpt_path")]
    if not checkpoints or any(_options(words, "--config", "-c")):
        return list(words)
    checkpoint = Path(checkpoints[-1])
    if not checkpoint.is_file():
        raise ConfigurationError(f"--ckpt_path is {checkpoint}, where there is no file; without one, give --config")
    config = config_of_checkpoint(checkpoint)
    return list(words) if config is None else [*words[:1], "--config", str(config), *words[1:]]


def find_config(name: str) -> Path:
    """The configuration of this name in the working directory, that of the run there, or among the shipped ones.

    Raises:
        ConfigurationError: There is none; the message lists near names.
    """
    for path in (Path(name), Path(name) / "config.yaml", SHIPPED / name):
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


def _import_components(imports: Mapping[str, list[str]], folders: list[str]) -> None:
    sys.path[:0] = folders
    for entry_point in entry_points(group=COMPONENTS):
        entry_point.load()
    for source, names in imports.items():
        for name in names:
            _import(name, source)


def _import(name: str, source: str) -> None:
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0] and error.name != name:
            raise  # the module is there, but one that it imports is not
        raise ConfigurationError(
            f"imports of {source} names {name}, which is neither in the working directory, nor beside the "
            "configuration, nor in its import_paths, nor installed"
        ) from error
