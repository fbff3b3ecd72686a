"""``gls configs``: the list of the shipped configurations."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import yaml

from gls_lightning.command_line.parser import CommandParser
from gls_lightning.commands import description
from gls_lightning.configuration import SHIPPED, compose, find_config, shipped

_TITLES = {
    ".": "experiments",
    "comparison": "methods compared on a short schedule",
    "paper": "rows of the paper's tables",
    "recipes": "the best settings that were found",
    "smoothing": "rows of the study of smoothing, for gls table",
    "spaces": "search spaces of gls front",
    "sweeps": "W&B sweeps",
}
"""Contents of the folders whose names do not say it."""


def configs(words: list[str]) -> None:
    """Lists the shipped configurations and what they train.

    Args:
        words: The words behind the command.

    Raises:
        ConfigurationError: A configuration is to be shown that does not exist.
    """
    parser = CommandParser(prog="gls configs", description=description("configs"))
    parser.add_argument("words", nargs="*", help="List only those whose name and description have all these words.")
    parser.add_argument(
        "--show", metavar="NAME", help="Print a configuration together with all that it is composed of."
    )
    options = parser.parse_args(words)
    if options.show is not None:
        print(yaml.safe_dump(compose(find_config(options.show)).content, sort_keys=False), end="", flush=True)
    elif found := listing(options.words):
        print("\n".join(found), flush=True)
    else:
        print(f"no shipped configuration has {' '.join(options.words)!r} in its name and description")


def listing(words: Sequence[str] = ()) -> list[str]:
    """Returns the lines of the list: below the title of each folder the names and descriptions with all these words."""
    described = {name: first_comment(SHIPPED / name) for name in shipped()}
    sought = " ".join(words).lower().split()
    found = {name: line for name, line in described.items() if all(w in f"{name} {line}".lower() for w in sought)}
    lines = []
    for folder, names in groupby(found, lambda name: Path(name).parent.as_posix()):
        group = list(names)
        width = max(map(len, group))
        lines += ["", f"{_TITLES.get(folder, folder)}:", *(f"  {name:<{width}}  {found[name]}" for name in group)]
    return lines[1:]


def first_comment(config: Path) -> str:
    """Returns the first line of a configuration, a comment."""
    with config.open() as lines:
        return next(lines, "").removeprefix("#").strip()
