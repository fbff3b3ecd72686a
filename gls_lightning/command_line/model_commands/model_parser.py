"""The parser of the commands that have a model: its options are also read from configurations."""

import re
from argparse import SUPPRESS, Action
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, Namespace  # type: ignore[attr-defined]  # exported by a computed list
from lightning.pytorch.cli import LightningArgumentParser
from torch.optim import Adam

from gls_lightning.command_line.components import options_of
from gls_lightning.command_line.model_commands.config_places import place
from gls_lightning.command_line.parse_failure import read_failure
from gls_lightning.command_line.parser import CommandParser
from gls_lightning.command_line.refusal import refused_key
from gls_lightning.configuration import Trust, check_values, compose, find_config
from gls_lightning.data import Digits
from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import RGS
from gls_lightning.module import CertifiedTrainingModule

_OPTION = re.compile(r"(?:Subcommand|Group) '([^']+)' does not accept option '([^']+)'")
_EARLY = re.compile(r"Option '(\w+)[^']*' is not accepted before subcommand '(\w+)'")
_USUAL = {"model": CertifiedTrainingModule, "model.estimator": RGS, "model.optimizer": Adam, "data": Digits}
"""Options of these classes are suggested where only their last names are given."""


class EarlyFlag(Action):
    """A flag that has been read before parsing: an option of the command line alone, that no configuration has."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, SUPPRESS, nargs=0, default=SUPPRESS, **options)

    def __call__(self, *args: Any) -> None:
        """Does nothing."""


class _NamedConfig(ActionConfigFile):
    """A configuration that is named by its path, by its run's directory, or as one of those shipped."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        super().__call__(parser, cfg, str(find_config(values)), option_string)  # type: ignore[no-untyped-call]


class ModelParser(CommandParser, LightningArgumentParser):
    """Composes configurations, and says in which file and line stands what it refuses.

    Attributes:
        trust: Whose values count as the user's own; those of other configurations are checked before they do anything.
    """

    trust = Trust()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register("action", ActionConfigFile, _NamedConfig)
        self._files: list[Path] = []
        self._reading: list[Path] = []

    def parse_string(self, content: str, path: str | PathLike[str] = "", **options: Any) -> Namespace:
        """Parses the text of a configuration; of a file together with its bases."""
        if path:
            composition = compose(Path(path))
            content = yaml.safe_dump(composition.content, sort_keys=False)
            self._reading = list(composition.files)
            self._files += composition.files
            self._require_sections(composition.content)
        parsed: Namespace = super().parse_string(content, path=path, **options)
        self._reading = []
        if path and Path(path).resolve() not in self.trust.configs:
            check_values(parsed, str(Path(path).absolute()), self.trust.folders)
        return parsed

    def _require_sections(self, content: dict[str, Any]) -> None:
        """Refuses what jsonargparse lets pass: further files, unknown keys without content, and values for sections."""
        names = self.option_names()
        of_command = "trainer.max_epochs" in names  # else the content is about several
        for section in [content] if of_command else [content, *content.values()]:
            if isinstance(section, dict) and "config" in section:  # read without being prepared and trusted
                raise ConfigurationError(f"config is {section['config']} in a configuration; name it under bases")
        if not of_command:
            return
        sections = {name.partition(".")[0] for name in names if "." in name and not name.endswith(".help")}
        for key, value in content.items():
            name = str(key).removesuffix("+")
            if name not in names and name not in sections:
                raise ConfigurationError(self.unknown_key(name))
            if name in sections and not isinstance(value, dict | str):
                said = f"{name} is {'empty' if value is None else value}; it must be a section of options"
                raise ConfigurationError(said + _in(place(name, self._files)))
            for inner in value if name in sections and isinstance(value, dict) else ():
                if f"{name}.{inner}".removesuffix("+") not in names:
                    raise ConfigurationError(self.unknown_key(f"{name}.{inner}"))

    def refusal(self, message: str, ex: Exception | None) -> str:
        """Writes the line about an input that was refused, with its place."""
        if unknown := _OPTION.match(message):
            parser = getattr(ex, "subcommand_parser", self)
            return str(parser.unknown_key(unknown[2] if parser is not self else f"{unknown[1]}.{unknown[2]}"))
        if early := _EARLY.match(message):
            return f"{early[1]} is an option of {early[2]}; give its configuration behind the command, with --config"
        line = super().refusal(message, ex)
        if not self._reading or ex is None:
            return line
        return line + _in(place(refused_key(read_failure(ex)), self._reading) or str(self._reading[-1]))

    def unknown_key(self, key: str) -> str:
        """Writes the line about a key of a configuration that is no option."""
        known = self.option_names()
        parts = key.split(".")
        depth = next((n for n in range(1, len(parts)) if not any(k.startswith(".".join(parts[:n])) for k in known)), 0)
        name = ".".join(parts[:depth]) if depth else key
        return f"{name}: there is no such key{self.near_options(name)}{_in(place(name, self._files))}"

    def near_options(self, name: str, dashes: str = "") -> str:
        """Names near options as every parser does, and the whole name of one that lacks its section."""
        usual = [f"{key}.{option}" for key, cls in _USUAL.items() for option in options_of(cls) if option == name]
        return f"; near: {', '.join(dashes + key for key in usual)}" if usual else super().near_options(name, dashes)

    def missing(self, names: list[str]) -> str:
        """Writes the line about required arguments that are not given, which usually stand in a configuration."""
        command = names[0].partition(".")[0]
        what = " and ".join(name.removeprefix(f"{command}.") for name in names)
        return (
            f"gls {command} needs {what}, which a configuration gives: --config digits_quickstart.yaml, for example; "
            "gls configs lists the shipped ones"
        )


def _in(where: str) -> str:
    return f" ({where})" if where else ""
