"""A reader of VNN-LIB 1.0, the format of properties in the competition of verifiers (VNN-COMP).

There is no package for it: ``vnnlib`` 1.0 reads only VNN-LIB 2.0.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import chain, product
from typing import Any, NamedTuple

from gls_lightning.errors import ConfigurationError

Linear = dict[str, Fraction]
"""A linear function: its coefficients other than 0 by the variables' names, and its constant under ``""``."""

Case = tuple[Linear, ...]
"""Functions that must all be at most 0."""

MOST_CASES = 100_000
"""Largest number of cases of a property."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?")
_VARIABLE = re.compile(r"[XY]_(0|[1-9]\d*)")


class Assertions(NamedTuple):
    """The assertions of a property.

    Attributes:
        variables: The declared variables, in their order.
        common: Assertions that hold in every case.
        cases: Further assertions, of which at least one case holds.
    """

    variables: list[str]
    common: Case
    cases: list[Case]


def read_assertions(text: str) -> Assertions:
    """Reads a property: ``declare-const``, ``assert``, ``and``, ``or``, ``<=``, ``>=``, ``+``, ``-`` and ``*``.

    Numbers are read exactly.

    Raises:
        ConfigurationError: The text has another form, or too many cases.
    """
    variables: list[str] = []
    formulas: list[list[Case]] = []
    for statement in _expressions(text):
        match statement:
            case ["declare-const", str(name), "Real"] if _VARIABLE.fullmatch(name) and name not in variables:
                variables.append(name)
            case ["assert", formula]:
                formulas.append(_cases(formula))
            case _:
                raise _unsupported(statement, "expected (declare-const X_0 Real), each name once, or (assert ...)")
    common = tuple(chain.from_iterable(cases[0] for cases in formulas if len(cases) == 1))
    cases = _conjunction([cases for cases in formulas if len(cases) != 1])
    unknown = {name for case in [common, *cases] for function in case for name in function} - {"", *variables}
    if unknown:
        raise ConfigurationError(f"{', '.join(sorted(unknown)[:3])} is not declared")
    return Assertions(variables, common, cases)


def _expressions(text: str) -> list[Any]:
    """Reads the expressions in brackets as lists of lists and words."""
    stack: list[list[Any]] = [[]]
    for token in re.findall(r"[()]|[^\s()]+", re.sub(r";.*", "", text)):
        if token == "(":
            stack.append([])
        elif token == ")" and len(stack) > 1:
            closed = stack.pop()
            stack[-1].append(closed)
        elif token == ")":
            raise ConfigurationError("a bracket is closed that was not opened")
        else:
            stack[-1].append(token)
    if len(stack) > 1:
        raise ConfigurationError("a bracket is not closed")
    return stack[0]


def _cases(formula: Any) -> list[Case]:
    match formula:
        case ["and", _, *_]:
            return _conjunction([_cases(part) for part in formula[1:]])
        case ["or", _, *_]:
            return [case for part in formula[1:] for case in _cases(part)]
        case ["<=", left, right]:
            return [(_sum([_linear(left), _scaled(_linear(right), Fraction(-1))]),)]
        case [">=", left, right]:
            return [(_sum([_linear(right), _scaled(_linear(left), Fraction(-1))]),)]
    raise _unsupported(formula, "expected (and ...), (or ...), (<= . .) or (>= . .)")


def _conjunction(parts: Sequence[list[Case]]) -> list[Case]:
    """Returns the cases in which one case of each part holds."""
    if (number := math.prod(map(len, parts))) > MOST_CASES:
        raise ConfigurationError(f"the property has {number} cases; at most {MOST_CASES} are supported")
    return [tuple(chain.from_iterable(chosen)) for chosen in product(*parts)]


def _linear(term: Any) -> Linear:
    match term:
        case str() if _NUMBER.fullmatch(term):
            return _sum([{"": Fraction(term)}])
        case str() if _VARIABLE.fullmatch(term):
            return {term: Fraction(1)}
        case ["+", _, *_]:
            return _sum(map(_linear, term[1:]))
        case ["-", single]:
            return _scaled(_linear(single), Fraction(-1))
        case ["-", first, *rest]:
            return _sum([_linear(first), *(_scaled(_linear(part), Fraction(-1)) for part in rest)])
        case ["*", _, *_]:
            return _product(term)
    raise _unsupported(term, "expected a number, X_i, Y_j, (+ ...), (- ...) or (* ...)")


def _product(term: list[Any]) -> Linear:
    result = {"": Fraction(1)}
    for factor in map(_linear, term[1:]):
        constant, other = (factor, result) if not factor.keys() - {""} else (result, factor)
        if constant.keys() - {""}:
            raise _unsupported(term, "a product may have one factor that is not constant")
        result = _scaled(other, constant.get("", Fraction(0)))
    return result


def _sum(functions: Iterable[Linear]) -> Linear:
    total: Linear = defaultdict(Fraction)
    for function in functions:
        for name, coefficient in function.items():
            total[name] += coefficient
    return {name: coefficient for name, coefficient in total.items() if coefficient}


def _scaled(function: Linear, factor: Fraction) -> Linear:
    return {name: factor * coefficient for name, coefficient in function.items() if factor}


def _unsupported(expression: Any, why: str) -> ConfigurationError:
    text = _text(expression)
    return ConfigurationError(f"{text if len(text) < 80 else text[:77] + '...'} is not supported: {why}")


def _text(expression: Any) -> str:
    return expression if isinstance(expression, str) else f"({' '.join(map(_text, expression))})"
