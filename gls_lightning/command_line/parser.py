"""The parser of every command: abbreviations are refused, and bad input ends with one line."""

import re
from collections.abc import Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from gls_lightning.arguments import alternatives, near
from gls_lightning.command_line.parse_failure import read_failure
from gls_lightning.command_line.refusal import explain, one_line
from gls_lightning.errors import ConfigurationError

_UNRECOGNIZED = "unrecognized arguments: "
_REQUIRED = re.compile(r"the following arguments are required: (.*)")
_ARGUMENT = re.compile(r"argument (\S+): (.*)", re.DOTALL)


class CommandParser(ArgumentParser):
    """Raises ConfigurationError, with one line, where jsonargparse would print many and exit."""

    def __init__(self, *args: Any, allow_abbrev: bool = False, **options: Any) -> None:
        super().__init__(*args, allow_abbrev=allow_abbrev, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Ends with what is wrong and what would be right.

        Raises:
            ConfigurationError: Always, but for a parser inside of another, which reports it.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        raise ConfigurationError(self.refusal(message, ex)) from ex

    def refusal(self, message: str, ex: Exception | None) -> str:
        """Writes the line about an input that was refused."""
        if message.startswith(_UNRECOGNIZED):
            return self.unknown_word(message.removeprefix(_UNRECOGNIZED).split()[0])
        if missing := _REQUIRED.match(message):
            return self.missing(missing[1].split(", "))
        if about := _ARGUMENT.match(message):
            return f"{about[1]}: {one_line(about[2])}"
        return one_line(message) if ex is None else explain(read_failure(ex))

    def option_names(self) -> list[str]:
        """Lists the names of all options, without the dashes."""
        names = [name for action in self._actions for name in action.option_strings]
        return [name[2:] for name in names if name.startswith("--") and not name.endswith("+")]

    def divide(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """Divides words into those for this parser and the options of another command, each with its values.

        Args:
            words: The words; those that are neither option nor value are this parser's.
        """
        own = {name.partition(".")[0] for action in self._actions for name in action.option_strings}
        divided: tuple[list[str], list[str]] = [], []
        to_others = value_follows = False
        for word in words:
            is_option = word.startswith("-") and not word[1:2].isdigit()
            if is_option:
                to_others = word.partition("=")[0].partition(".")[0] not in own
            elif not value_follows:
                to_others = False
            value_follows = is_option and "=" not in word
            divided[to_others].append(word)
        return divided

    def unknown_word(self, word: str) -> str:
        """Writes the line about a word that is no option."""
        if not word.startswith("-"):
            hint = f"--config {word}" if word.endswith(".yaml") else "options begin with --"
            return f"there is no argument {word!r} here; {hint}"
        name = word.lstrip("-").partition("=")[0]
        return f"there is no option {word.partition('=')[0]}{self.near_options(name, '--')}"

    def near_options(self, name: str, dashes: str = "") -> str:
        """Ends the message that there is no option of this name, with those whose names are near."""
        names = self.option_names()
        root, dot, rest = name.partition(".")
        roots = {known.partition(".")[0] for known in names}
        if dot and root in roots:
            inside = [known.removeprefix(f"{root}.") for known in names if known.startswith(f"{root}.")]
            return alternatives(rest, inside, f"{dashes}{root}.")
        if dot:
            return alternatives(root, roots, dashes, f".{rest}")
        by_last = {known.rpartition(".")[2]: known for known in reversed(names)}
        if not near(name, roots) and (deeper := near(name, by_last)):
            return f"; near: {', '.join(dashes + by_last[last] for last in deeper)}"
        return alternatives(name, roots, dashes)

    def missing(self, names: list[str]) -> str:
        """Writes the line about arguments that are required but not given."""
        return f"{self.prog} needs {' and '.join(names)}"
