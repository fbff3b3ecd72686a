"""Place and reason of a refusal by jsonargparse, read from the chain of its exceptions."""

import re
from argparse import ArgumentError
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gls_lightning.errors import ConfigurationError

_KEY = re.compile(r'Parser key "([^"]+)":')
_CLASS = re.compile(r"Problem with given class_path '([^']+)':")
_CALLABLE = re.compile(r"Type .* expects a function or a callable class: .*class_path='([^']+)'", re.DOTALL)
_SUBTYPES = re.compile(r"(?:.*\n)*?Subtypes: \[(.*)\]\n")
_VALUE = re.compile(r".*(?:\nGiven value:|\. Got value:) ?(.*)|Not of type \w+: '(.*)' is not", re.DOTALL)
_OF_ONE_TYPE = re.compile(r"Expected a <class|Not a valid subclass of")
_NO_CLASS = re.compile(r"Expected a dot import path string:")


@dataclass(frozen=True)
class ParseFailure:
    """An input that was refused.

    Attributes:
        key: The innermost key that is known, with those above it, such as ``model.estimator``; empty for the whole.
        owner: Path of the class whose arguments were read last, if any.
        outer: Path of the class that has the argument ``key``, if it is one of a class.
        reason: The innermost message.
        value: What was given for ``key``, as far as the messages say.
        expected: The types of ``key``, as jsonargparse writes them; empty if the messages do not say.
    """

    key: str = ""
    owner: str = ""
    outer: str = ""
    reason: str = ""
    value: str = ""
    expected: str = ""


def read_failure(error: BaseException) -> ParseFailure:
    """Reads what the chain of exceptions says; each level of a nested input adds some."""
    failure, union, above = ParseFailure(), "", None
    for link in _chain(error):
        text = link.args[0] if isinstance(link, KeyError) and link.args else link
        text = str(text).strip().removeprefix("- ")
        repeated = isinstance(link, ArgumentError) or (isinstance(link, TypeError) and isinstance(above, TypeError))
        failure, above = replace(_with(failure, text, repeated), reason=text), link
        union = text if _SUBTYPES.match(text) and not _KEY.match(text) and not _CLASS.match(text) else union
        if isinstance(link, ConfigurationError) or text.startswith("Not of type "):
            break  # what led to it says no more
    return _more_telling(failure, union) if _OF_ONE_TYPE.match(failure.reason) else failure


def _with(failure: ParseFailure, text: str, repeated: bool) -> ParseFailure:
    """Adds what one message says; some errors repeat the key of the one above or below."""
    if (key := _KEY.match(text)) and not repeated:
        failure = _below(failure, key[1])
    if owner := _CLASS.match(text) or _CALLABLE.match(text):
        failure = replace(failure, owner=owner[1])
    if not key and not owner and (subtypes := _SUBTYPES.match(text)):
        failure = replace(failure, expected=subtypes[1])
    if not owner and not repeated and (value := _VALUE.match(text)):
        given = value[1] or value[2] or ""
        failure = replace(failure, value=given.partition("\nSubclass types")[0])
    return failure


def _below(failure: ParseFailure, key: str) -> ParseFailure:
    path = f"{failure.key}.{key}".lstrip(".")
    return replace(failure, key=path, outer=failure.owner, value="", expected="")


def _more_telling(failure: ParseFailure, union: str) -> ParseFailure:
    """Finds the error of the likeliest type: the chain goes on with the first; another may say more."""
    lines = (line.strip().removeprefix("- ") for line in union.partition("\nErrors:\n")[2].splitlines())
    found = failure
    for line in lines:
        if owner := _CLASS.match(line):
            found = replace(found, owner=owner[1])
        elif found.owner != failure.owner and (key := _KEY.match(line)):
            found = _below(found, key[1])
        elif found.owner != failure.owner or _NO_CLASS.match(line):
            value = _VALUE.match(line)
            return replace(found, reason=line, value=(value and value[1]) or found.value)
    return failure


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
