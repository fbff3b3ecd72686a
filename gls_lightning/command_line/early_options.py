"""Options that decide what is imported and trusted, and so must be known before the others are read.

A parser of its own reads them: jsonargparse reads a configuration as soon as it meets its name, imports the modules of
the classes that it names, and refuses to parse a part of a command line. Both divide words into options and values as
argparse does, so they find the same ones.
"""

from argparse import ArgumentParser, Namespace
from typing import Any, NoReturn

import yaml

from gls_lightning.configuration import TRUST_RUN
from gls_lightning.errors import ConfigurationError


class EarlyOptions(Namespace):
    """The values of these options on a command line.

    Attributes:
        config: The configurations, in their order, as they are named.
        ckpt_path: The checkpoint; None without one.
        imports: Modules to import, each entry a list as YAML.
        import_paths: Folders where these may be, likewise.
        trust_run: Whether runs that were found are trusted.
        weights_only: What is said about objects in checkpoints, as YAML; empty if nothing.
    """

    config: list[str]
    ckpt_path: str | None
    imports: list[str]
    import_paths: list[str]
    trust_run: bool
    weights_only: str

    @property
    def pickles(self) -> bool:
        """True if objects in checkpoints are to be unpickled, which executes code."""
        try:
            return yaml.safe_load(self.weights_only) is False
        except yaml.YAMLError:  # the parser of all options refuses it
            return False


class _EarlyParser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(message.removeprefix("argument "))


def read_early_options(words: list[str]) -> EarlyOptions:
    """Reads these options, and passes over all other words.

    Raises:
        ConfigurationError: One lacks its value, or has one that it does not take.
    """
    parser = _EarlyParser(add_help=False, allow_abbrev=False)
    repeated: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("-c", "--config", **repeated)
    parser.add_argument("--ckpt_path")
    parser.add_argument("--imports", "--imports+", **repeated)
    parser.add_argument("--import_paths", "--import_paths+", **repeated)
    parser.add_argument(TRUST_RUN, action="store_true")
    parser.add_argument("--weights_only", default="")
    return parser.parse_known_args(words, EarlyOptions())[0]
