"""What the exceptions of jsonargparse say, as it raises them for parsers of the test's own."""

from argparse import ArgumentError
from collections.abc import Callable
from typing import Any, Literal

import pytest
from jsonargparse import ArgumentParser

from gls_lightning.arguments.radius import Radius
from gls_lightning.command_line.parse_failure import ParseFailure, read_failure
from gls_lightning.command_line.plain_types import plain_type


class Part:
    def __init__(self, size: int = 1, shape: Literal["round", "flat"] = "round") -> None:
        pass


class Whole:
    def __init__(self, part: Part | None = None, parts: list[Part] | None = None, near: Radius = 0.1) -> None:
        pass


def failure(*words: str) -> ParseFailure:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Whole, "whole")
    parser.add_argument("--count", type=int | None)
    parser.add_argument("--names", type=list[str])
    parser.add_argument("--make", type=Callable[[int], Part])
    with pytest.raises(ArgumentError) as raised:
        parser.parse_args(list(words))
    assert raised.value.__cause__ is not None
    return read_failure(raised.value.__cause__)


WHOLE, PART = (f"{cls.__module__}.{cls.__name__}" for cls in (Whole, Part))


def test_a_value_of_another_type() -> None:
    found = failure("--count=three")
    assert (found.key, found.value, plain_type(found.expected)) == ("count", "three", "an integer or null")


def test_a_value_deep_inside() -> None:
    found = failure(f"--whole={WHOLE}", f"--whole.part={PART}", "--whole.part.size=large")
    assert (found.key, found.owner, found.value) == ("whole.part.size", PART, "large")
    assert found.reason == "Expected a <class 'int'>. Got value: large"


def test_an_option_that_a_class_has_not() -> None:
    found = failure(f"--whole={WHOLE}", f"--whole.part={PART}", "--whole.part.sise=1")
    assert (found.key, found.owner, found.reason) == ("whole.part", PART, "Option 'sise' is not accepted")


def test_a_class_that_there_is_not() -> None:
    found = failure(f"--whole={WHOLE}", "--whole.part=Prat")
    assert (found.key, found.outer, found.value) == ("whole.part", WHOLE, "Prat")
    assert found.reason == "Expected a dot import path string: Prat"
    assert "Part" in found.expected


def test_the_value_of_a_radius() -> None:
    found = failure(f"--whole={WHOLE}", "--whole.near=far")
    assert (found.key, found.value, found.reason.partition(":")[0]) == ("whole.near", "far", "Not of type Radius")


def test_a_class_in_place_of_a_function() -> None:
    found = failure(f"--make={PART}", "--make.sise=2")
    assert (found.key, found.owner, found.reason) == ("make", PART, "Option 'sise' is not accepted")


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (str(int), "an integer"),
        ("<class 'int'>, <class 'NoneType'>", "an integer or null"),
        ("<class 'NoneType'>, <class 'bool'>", "true or false or null"),
        ("typing.Literal['a', 'b'], typing.Literal[3], <class 'NoneType'>", "one of a, b, 3 or null"),
        ("list[str], <class 'NoneType'>", "a list of strings or null"),
        (
            "collections.abc.Sequence[gls_lightning.arguments.radius.Radius]",
            "a list of numbers or fractions such as 8/255",
        ),
        ("typing.Union[int, float]", "an integer or a number"),
        ("typing.Optional[str]", "a string or null"),
        ("list[list[int]]", "a list of lists of integers"),
        ("dict[str, typing.Any]", "a mapping"),
        ("gls_lightning.relaxations.relaxation.Relaxation", "a Relaxation"),
        ("typing.Callable[[int], str], <class 'NoneType'>", "a class or a function or null"),
    ],
)
def test_types_in_plain_words(hint: Any, words: str) -> None:
    assert plain_type(hint) == words
