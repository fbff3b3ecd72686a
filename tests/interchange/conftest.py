"""What a VNN-LIB text says about given values, by an evaluator that shares nothing with the package's reader."""

import ast
import re
from collections.abc import Callable
from fractions import Fraction
from math import prod
from typing import Any

import pytest

Holds = Callable[[str, dict[str, Fraction]], bool]


@pytest.fixture(scope="session")
def holds() -> Holds:
    """Whether all assertions of a text are true for the values of its variables."""

    def check(text: str, values: dict[str, Fraction]) -> bool:
        python = {"(": "[", ")": "],"}
        tokens = re.findall(r"[()]|[^\s()]+", re.sub(";.*", "", text))
        statements = ast.literal_eval("[" + "".join(python.get(token, f"{token!r},") for token in tokens) + "]")
        return all(evaluate(term, values) for kind, term, *_ in statements if kind == "assert")

    return check


def evaluate(term: Any, values: dict[str, Fraction]) -> Any:
    """The value of a term, or the truth of a formula."""
    if isinstance(term, str):
        return values[term] if term in values else Fraction(term)
    first, *rest = (evaluate(part, values) for part in term[1:])
    match term[0]:
        case "and":
            return first and all(rest)
        case "or":
            return first or any(rest)
        case "<=":
            return first <= rest[0]
        case ">=":
            return first >= rest[0]
        case "+":
            return first + sum(rest)
        case "*":
            return first * prod(rest)
        case "-":
            return first - sum(rest) if rest else -first
    raise AssertionError(term)
