"""The line about an input that was refused: key, value, what would be right and near names, in one line.

The components are imported only where they are needed: it takes seconds, and few commands have any.
"""

import re
from ast import literal_eval
from dataclasses import replace

from gls_lightning.arguments import alternatives
from gls_lightning.command_line.parse_failure import ParseFailure
from gls_lightning.command_line.plain_types import plain_type

_UNKNOWN_CLASS = re.compile(
    r"(?:.*: )?Expected a dot import path string: ?(.*)|.*Not a valid subclass of .*", re.DOTALL
)
_OTHER_CLASS = re.compile(r"Import path (\S+) does not correspond to a subclass of|Expected '(\S+)' to be a subclass")
_NOT_THERE = re.compile(r"No module named|module .* has no attribute|cannot import")
_WRONG_TYPE = re.compile(r"Expected an? (.+?)\. Got value:|Not of type (\w+): ", re.DOTALL)
_UNKNOWN_OPTION = re.compile(r"Option '([^']+)' is not accepted$")
_UNREAD = re.compile(r'Unable to load config "(.*)"')
_REQUIRED = re.compile(r"the following arguments are required: (.*)")
_HELP = re.compile(r"NestedArg\(key='(.+)\.help'")
_TWIN = "pytorch_lightning."
LONGEST_VALUE = 60


def explain(failure: ParseFailure) -> str:
    """Writes the line about a failure below a key, such as ``model.epsilon is 'abc'; it must be a number``."""
    reason = failure.reason
    if unknown := _UNKNOWN_OPTION.search(reason):
        return _unknown_option(failure.key, unknown[1], failure.owner)
    if missing := _REQUIRED.match(reason):
        return f"{failure.key}: {failure.owner.rpartition('.')[2]} needs {missing[1]}"
    if other := _OTHER_CLASS.search(reason):
        return _wrong_class(failure, other[1] or other[2])
    if unknown := _UNKNOWN_CLASS.match(reason):
        return _wrong_class(failure, unknown[1] or failure.value)
    if _NOT_THERE.match(reason):
        return f"{failure.key} is {failure.owner or failure.value}, which cannot be imported: {one_line(reason)}"
    if unread := _UNREAD.search(reason):
        return f"{failure.key} is {unread[1]}; it must be a section of options, or a file that holds one"
    if wrong := _WRONG_TYPE.match(reason):
        right = plain_type(failure.expected or wrong[1] or wrong[2])
        return f"{failure.key} is {_shown(failure.value)}; it must be {right}"
    return f"{failure.key}: {one_line(reason)}".removeprefix(": ")


def refused_key(failure: ParseFailure) -> str:
    """Names the key that the failure is about, which may be an unknown one."""
    unknown = _UNKNOWN_OPTION.search(failure.reason)
    return f"{failure.key}.{unknown[1]}" if unknown else failure.key


def one_line(text: object) -> str:
    """Removes the line breaks of a text."""
    return " ".join(str(text).split())


def _shown(value: str) -> str:
    line = one_line(value)
    return (line if len(line) <= LONGEST_VALUE else f"{line[: LONGEST_VALUE - 3]}...") or "empty"


def _unknown_option(key: str, option: str, path: str) -> str:
    """Says that a class has no such option, but perhaps a near one, or that another class of its kind has it."""
    from gls_lightning.command_line.components import KINDS, components, imported, kind_of, options_of

    if not isinstance(owner := imported(path), type):
        return f"{key}.{option}: there is no such option"
    said = f"{key}.{option}: {owner.__name__} has no option {option}"
    if (kind := kind_of(owner)) is owner and owner.__name__ not in components(kind):
        return f"{said}; give the class of the {KINDS[kind]} first, with its class_path"
    own, root = options_of(owner), option.partition(".")[0]
    having = [name for name, cls in components(kind).items() if root in options_of(cls)] if kind else []
    if having:
        have = f"{' and '.join(having)} {'has' if len(having) == 1 else 'have'}"
        return f"{said}, which {have}; it has {', '.join(own) or 'none'}"
    return said + (alternatives(root, own) or f"; --{key}.help={owner.__name__} lists those it has")


def _wrong_class(failure: ParseFailure, given: str) -> str:
    """Says that there is no such class, or that it is of another kind."""
    from gls_lightning.command_line.components import (
        KINDS,
        article,
        components,
        expected_kind,
        kind_named,
    )

    if asked := _HELP.match(failure.value):
        failure = replace(failure, key=f"{failure.key}.{asked[1]}", outer=failure.owner, expected="")
    kind = expected_kind(failure.expected, failure.outer, failure.key)
    if kind is None:
        return f"{failure.key} is {_shown(given)}; it must be {plain_type(failure.expected) or 'another class'}"
    noun, name, offered = KINDS[kind], given.rpartition(".")[2], sorted(components(kind))
    if given.startswith(_TWIN):
        right = given.replace(_TWIN, "lightning.pytorch.", 1)
        return f"{failure.key} is {given}, which is of another package; give {right}"
    if (section := _section(given)) is not None:
        said = f"the section of {article(noun)} has class_path, such as {offered[0]}, and init_args"
        extra = [name for name in section if name not in ("class_path", "init_args", "dict_kwargs")]
        return f"{failure.key}.{extra[0]}: there is no such key; {said}" if extra else f"{failure.key}: {said}"
    if not name.isidentifier():
        return f"{failure.key} is {_shown(given)}; it must be {article(noun)}, such as {offered[0]}"
    if (other := kind_named(name)) not in (None, kind):
        choice = f"one of {', '.join(offered)}" if len(offered) > 1 else offered[0]
        return f"{failure.key} is {given}, {article(KINDS[other])}; {article(noun)} is {choice}"
    return f"{failure.key} is {given}, but there is no such {noun}{alternatives(name, offered)}"


def _section(given: str) -> list[str] | None:
    """Reads the keys of a mapping that was printed; None of anything else."""
    try:
        value = literal_eval(given)
    except (ValueError, SyntaxError):
        return None
    return list(map(str, value)) if isinstance(value, dict) else None
