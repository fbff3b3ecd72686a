"""The words behind ``gls table``: its own options, and those of its trainings and certifications."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml

from gls_lightning.commands.comparability import check_variable
from gls_lightning.errors import ConfigurationError

_OWN, _CERTIFY, _TUNE = "--slurm.", "--certify.", "--tune."
_REFUSED = {
    "--seed_everything": "--seeds says which seeds there are",
    "--config": "configurations are named without it",
    "--ckpt_path": "a training that was interrupted goes on by itself",
    "--trainer.logger": "each training has its directory in that of the table",
    "--certify.output": "records lie in the directory of the training",
    "--certify.executor": "--executor says where all jobs run",
    "--certify.jobs": "--shares says how many processes share a certification",
    "--certify.slurm": "--slurm has the parameters of all jobs",
}
"""Options that the command sets itself, and why nobody needs them."""


class Words(NamedTuple):
    """The words behind the command.

    Attributes:
        own: For the command itself.
        overrides: For each training, and for each certification, too; each with its value behind ``=``.
        certify: For each certification alone, as ``gls certify`` reads them.
        tuned: The values that are tried for each row, as they are written, by their keys as :func:`short` writes them.
    """

    own: list[str]
    overrides: list[str]
    certify: list[str]
    tuned: dict[str, list[str]]


def divide(words: Sequence[str]) -> Words:
    """Divides the words: dotted options and all options behind ``--`` are overrides, but for ``--certify.``.

    Raises:
        ConfigurationError: A word behind ``--`` is no option, the command sets an option itself, or an option cannot
            be tuned so.
    """
    divided, left, behind = Words([], [], [], {}), deque(words), False
    while left:
        word = left.popleft()
        name = word.partition("=")[0]
        if word == "--" and not behind:
            behind = True
        elif word.startswith("--") and (behind or ("." in name and not name.startswith(_OWN))):
            if "=" not in word and left and not left[0].startswith("--"):
                word = f"{word}={left.popleft()}"
            if name.startswith(_TUNE):
                _check(name.replace(_TUNE, "--", 1))
                _add_tried(divided.tuned, word)
                continue
            _check(name)
            target = divided.certify if name.startswith(_CERTIFY) else divided.overrides
            target.append(word.replace(_CERTIFY, "--", 1))
        elif behind:
            raise ConfigurationError(f"{word} stands behind --; there must be options, such as --trainer.max_epochs=1")
        else:
            divided.own.append(word)
    if twice := sorted({*divided.tuned} & {*values(divided.overrides)}):
        raise ConfigurationError(
            f"{twice[0]} is set to one value, and tuned over {divided.tuned[twice[0]]}; choose one"
        )
    return divided


def _check(name: str) -> None:
    for refused, why in _REFUSED.items():
        if f"{name}.".startswith(f"{refused}."):
            raise ConfigurationError(f"{name} is no option for gls table: {why}")


def _add_tried(tuned: dict[str, list[str]], word: str) -> None:
    name, _, text = word.partition("=")
    key = short(name.removeprefix(_TUNE))
    check_variable(key, name)
    if key in tuned:
        raise ConfigurationError(f"{name} is given twice")
    tried = list(dict.fromkeys(_elements(text)))
    if len(tried) < 2:
        raise ConfigurationError(f"{name} is {text}; it must be a list of two values or more, such as [5e-4, 5e-3]")
    tuned[key] = tried


def _elements(text: str) -> list[str]:
    """Returns the elements of a list in YAML as they are written; none if it is no list."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError:
        return []
    if not isinstance(node, yaml.SequenceNode):
        return []
    return [text[of.start_mark.index : of.end_mark.index] for of in node.value]


def values(overrides: Sequence[str]) -> dict[str, Any]:
    """Returns what overrides set, by their keys as :func:`short` writes them."""
    pairs = (word.removeprefix("--").partition("=") for word in overrides)
    return {short(key): yaml.safe_load(value) if sign else True for key, sign, value in pairs}


def short(key: str) -> str:
    """Writes a key without ``init_args``, which options may leave out."""
    return key.replace(".init_args.", ".")


def named(options: Sequence[str]) -> dict[str, str]:
    """Returns the values of options, as they are written, by their keys as :func:`short` writes them."""
    pairs = (option.removeprefix("--").partition("=") for option in options)
    return {short(key): value for key, _, value in pairs}
