"""The words behind ``gls table``: its own options, and those of its trainings and certifications."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml

from gls_lightning.errors import ConfigurationError

_OWN, _CERTIFY = "--slurm.", "--certify."
_REFUSED = {
    "--seed_everything": "--seeds says which seeds there are",
    "--config": "configurations are named without it",
    "--ckpt_path": "a training that was interrupted goes on by itself",
    "--trainer.logger": "each training has its directory in that of the table",
    "--certify.output": "records lie in the directory of the training",
}
"""Options that the command sets itself, and why nobody needs them."""


class Words(NamedTuple):
    """The words behind the command.

    Attributes:
        own: For the command itself.
        overrides: For each training, and for each certification, too; each with its value behind ``=``.
        certify: For each certification alone, as ``gls certify`` reads them.
    """

    own: list[str]
    overrides: list[str]
    certify: list[str]


def divide(words: Sequence[str]) -> Words:
    """Divides the words: dotted options and all options behind ``--`` are overrides, but for ``--certify.`` options.

    Raises:
        ConfigurationError: A word behind ``--`` is no option, or the command sets an option itself.
    """
    divided, left, behind = Words([], [], []), deque(words), False
    while left:
        word = left.popleft()
        name = word.partition("=")[0]
        if word == "--" and not behind:
            behind = True
        elif word.startswith("--") and (behind or ("." in name and not name.startswith(_OWN))):
            if "=" not in word and left and not left[0].startswith("--"):
                word = f"{word}={left.popleft()}"
            _check(name)
            target = divided.certify if name.startswith(_CERTIFY) else divided.overrides
            target.append(word.replace(_CERTIFY, "--", 1))
        elif behind:
            raise ConfigurationError(f"{word} stands behind --; there must be options, such as --trainer.max_epochs=1")
        else:
            divided.own.append(word)
    return divided


def _check(name: str) -> None:
    for refused, why in _REFUSED.items():
        if f"{name}.".startswith(f"{refused}."):
            raise ConfigurationError(f"{name} is no option for gls table: {why}")


def values(overrides: Sequence[str]) -> dict[str, Any]:
    """Returns what overrides set, by their keys as :func:`short` writes them."""
    pairs = (word.removeprefix("--").partition("=") for word in overrides)
    return {short(key): yaml.safe_load(value) if sign else True for key, sign, value in pairs}


def short(key: str) -> str:
    """Writes a key without ``init_args``, which options may leave out."""
    return key.replace(".init_args.", ".")
