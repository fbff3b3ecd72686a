"""Plain values and components of known kinds: all that a configuration may say that was found."""

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import Enum
from functools import reduce
from inspect import isroutine
from os import PathLike
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, get_loader, set_loader, set_parsing_settings

from gls_lightning.configuration._yaml_files import parse_yaml
from gls_lightning.configuration.trust import TRUST_RUN, guarded_imports, is_own
from gls_lightning.errors import ConfigurationError
from gls_lightning.private_names import of_checkpoints
from gls_lightning.run_files import run_of_checkpoint

PLAIN = (bool, int, float, str, bytes, PathLike, timedelta, Enum, type(None))
PACKAGE = "gls_lightning"
KINDS = {
    "lightning.pytorch.callbacks.callback.Callback",
    "lightning.pytorch.core.datamodule.LightningDataModule",
    "lightning.pytorch.profilers.profiler.Profiler",
    "torch.nn.modules.module.Module",
    "torch.optim.lr_scheduler.LRScheduler",
    "torch.optim.optimizer.Optimizer",
}
"""Classes may be named that derive from one of these or from a class of this package, and all of the user's own."""
WANDB = "lightning.pytorch.loggers.wandb.WandbLogger"
NAMED = {
    WANDB,
    "gls_lightning.certification.complete_certifier.complete_certifier",
    "lightning.pytorch.loggers.csv_logs.CSVLogger",
    "lightning.pytorch.loggers.tensorboard.TensorBoardLogger",
    "lightning.pytorch.strategies.ddp.DDPStrategy",
    "lightning.pytorch.strategies.single_device.SingleDeviceStrategy",
}
"""Other names that are allowed; further loggers send to where a run says, strategies read checkpoints their own way."""
LIMITED = {"trainer.strategy": re.compile(r"auto|ddp\w*"), "trainer.model_registry": re.compile("")}
"""Values that these options may have: no strategy that reads checkpoints its own way, and no server to send them to."""
ELSEWHERE = re.compile(r"\w[\w.+-]*(://|::)")
"""Begins what is on another machine, or behind a reader that the name itself chooses."""

_load_yaml = get_loader("yaml")


def restrict_parsers() -> None:
    """Makes parsers read YAML strictly, name no function that runs what it is given, and build only what has a type.

    The settings are jsonargparse's own, for all parsers of the process.
    """
    set_parsing_settings(import_path_denylist=[], instantiate_subclass_spec_in_any=False)
    set_loader("yaml", _load_strictly, (yaml.YAMLError,))


def _load_strictly(text: str) -> Any:
    if text.count(":") > 1:  # there may be two keys
        parse_yaml(text, f"YAML that begins with {text.strip().splitlines()[0][:40]!r}")
    return _load_yaml(text)


def check_values(values: Any, source: str, folders: Sequence[str], remedy: str = TRUST_RUN) -> None:
    """Refuses what would execute code of others, or code of a library that is none of its components.

    Args:
        values: What a parser understood, so that names are resolved, and files that are named are read.
        source: Where they are from, for the message.
        folders: Where the user's own modules are.
        remedy: What lets everything pass, for the message.

    Raises:
        ConfigurationError: There is something other than plain values and components.
    """
    for key, text, named in _named(values, ""):
        if not _is_component(named, folders):
            raise ConfigurationError(
                f"{key} of {source} is {text!r}, which a run that was found may not choose: it may name networks and "
                f"other components, data modules, optimizers, callbacks and files of this machine; {remedy} trusts it"
            )


def check_arguments(
    of: type, saved: Mapping[str, Any], given: Collection[str], source: str, folders: Sequence[str], remedy: str
) -> None:
    """Refuses likewise what stands in the saved arguments from which Lightning will make an object.

    Args:
        of: The object's class.
        saved: The arguments, and under ``_class_path`` what Lightning notes.
        given: The names of those that the user gives in their place.
        source: The checkpoint that they are from.
        folders: Where the user's own modules are.
        remedy: What lets everything pass, for the message.

    Raises:
        ConfigurationError: There is something other than plain values and components.
    """
    parser = ArgumentParser(exit_on_error=False)
    values = {name: value for name, value in saved.items() if name not in given}
    if path := values.pop(of_checkpoints.CLASS_PATH, None):
        parser.add_subclass_arguments(of, "module", fail_untyped=False, skip=set(given))
        values = {"class_path": path, "dict_kwargs": values}
    else:
        parser.add_class_arguments(of, "module", fail_untyped=False, skip=set(given))
    with guarded_imports(folders, [run_of_checkpoint(Path(source))]):
        parsed = parser.parse_object({"module": values})
    check_values(parsed, source, folders, remedy)


def _named(value: Any, key: str) -> Iterator[tuple[str, str, Any]]:
    """Yields all that is no plain value: its key, its name, and the object."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, str):
        limit = LIMITED.get(".".join(key.split(".")[-2:]))
        if ELSEWHERE.match(value) or (limit is not None and not limit.fullmatch(value)):
            yield key, value, None
        elif (inner := _unwrapped(value)) is not None:
            yield from _named(inner, key)
    elif isinstance(value, Mapping):
        if "class_path" in value:
            yield key, str(value["class_path"]), _resolve(value["class_path"])
            yield from _settings(value, key)
        for name, inner in value.items():
            yield from _named(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple | set):
        for position, inner in enumerate(value):
            yield from _named(inner, f"{key}.{position}")
    elif not isinstance(value, PLAIN):
        yield key, _name(value) if isinstance(value, type) or isroutine(value) else repr(value), value


def _settings(section: Mapping[str, Any], key: str) -> Iterator[tuple[str, str, Any]]:
    """Yields the option of W&B's logger that says to which server it sends the user's key."""
    if _name(_resolve(section["class_path"])) != WANDB:
        return
    for part in ("init_args", "dict_kwargs"):
        options = section.get(part) or {}
        settings = (vars(options) if isinstance(options, Namespace) else options).get("settings")
        if settings is not None:
            yield f"{key}.{part}.settings", str(settings), None


def _unwrapped(text: str) -> Any:
    """Parses a string that is YAML once more, as a parser may do later; None of any other string."""
    try:
        inner = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return None
    return inner if isinstance(inner, dict | list) or (isinstance(inner, str) and inner != text) else None


def _resolve(path: Any) -> Any:
    """Finds the object of this name in what the parser has imported; None if there is none."""
    parts = str(path).split(".")
    for count in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:count]))
        if found is not None:
            return reduce(lambda inner, part: getattr(inner, part, None), parts[count:], found)
    return None


def _name(named: Any) -> str:
    return f"{getattr(named, '__module__', None)}.{getattr(named, '__qualname__', None)}"


def _is_component(named: Any, folders: Sequence[str]) -> bool:
    by_name = isinstance(named, type) or isroutine(named)
    if by_name and (_name(named) in NAMED or is_own(named.__module__ or "", folders)):
        return True
    lineage = (named if isinstance(named, type) else type(named)).__mro__
    return any(_name(base) in KINDS or base.__module__.partition(".")[0] == PACKAGE for base in lineage)
