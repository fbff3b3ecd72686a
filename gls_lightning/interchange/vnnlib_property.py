"""A property of a network: a part of the outputs that no input of a box may reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from gls_lightning.bounds import Box
from gls_lightning.certification.branch_and_bound import Question
from gls_lightning.errors import ConfigurationError
from gls_lightning.interchange.vnnlib_reader import Assertions, Case, Linear, read_assertions


@dataclass(frozen=True)
class VnnlibProperty:
    """What a VNN-LIB file asks about a network.

    Attributes:
        num_inputs: Number of input elements.
        num_outputs: Number of output elements.
        questions: One for each input box, whose sides are ``[1, num_inputs]``; the answer to the property is yes
            ("sat") if it is to any of them.
    """

    num_inputs: int
    num_outputs: int
    questions: tuple[Question, ...]


def read_property(path: Path) -> VnnlibProperty:
    """Reads a property in VNN-LIB 1.0.

    Every assertion is about inputs alone, where it bounds one of them by a number, or about outputs alone, where it is
    linear. Numbers become the nearest of float64.

    Raises:
        ConfigurationError: The file cannot be read, or is not of this form.
    """
    try:
        return _property(read_assertions(path.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _property(assertions: Assertions) -> VnnlibProperty:
    inputs, outputs = (_numbered(kind, assertions.variables) for kind in "XY")
    bounds, rows = _separated(assertions.common)
    boxes: dict[tuple[tuple[float, ...], ...], list[list[Linear]]] = {}
    for case in assertions.cases:
        more_bounds, more_rows = _separated(case)
        box = _box([*bounds, *more_bounds], inputs)
        if all(lower <= upper for lower, upper in zip(*box, strict=True)):
            boxes.setdefault(box, []).append([*rows, *more_rows])
    questions = (_question(box, groups, outputs) for box, groups in boxes.items())
    return VnnlibProperty(len(inputs), len(outputs), tuple(questions))


def _numbered(kind: str, variables: Sequence[str]) -> list[str]:
    """The variables of a kind in the order of their numbers, which leave none out."""
    names = [f"{kind}_{number}" for number in range(sum(name[0] == kind for name in variables))]
    if not names or not set(names) <= set(variables):
        raise ConfigurationError(f"variables {kind}_0, {kind}_1 and so on must be declared, none left out")
    return names


def _separated(case: Case) -> tuple[list[Linear], list[Linear]]:
    """The functions of inputs, and those of outputs."""
    inputs: list[Linear] = []
    outputs: list[Linear] = []
    for function in case:
        names = function.keys() - {""}
        about_inputs = any(name[0] == "X" for name in names)
        if about_inputs and len(names) > 1:
            raise ConfigurationError(
                f"an assertion is about {' and '.join(sorted(names)[:3])}; supported are bounds of single inputs, and "
                "linear functions of outputs"
            )
        (inputs if about_inputs else outputs).append(function)
    return inputs, outputs


def _box(bounds: Sequence[Linear], inputs: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """The tightest lower and upper bounds of each input."""
    lower: dict[str, Fraction] = {}
    upper: dict[str, Fraction] = {}
    for function in bounds:
        (name,) = function.keys() - {""}
        value = -function.get("", Fraction(0)) / function[name]
        if function[name] > 0:
            upper[name] = min(value, upper.get(name, value))
        else:
            lower[name] = max(value, lower.get(name, value))
    if unbounded := [name for name in inputs if name not in lower or name not in upper]:
        raise ConfigurationError(f"{unbounded[0]} must have a lower and an upper bound")
    return tuple(tuple(float(side[name]) for name in inputs) for side in (lower, upper))


def _question(box: Sequence[Sequence[float]], groups: list[list[Linear]], outputs: Sequence[str]) -> Question:
    longest = max(1, *map(len, groups))
    filled = [[*group, *[group[0] if group else {}] * (longest - len(group))] for group in groups]
    rows = [[[float(function.get(name, 0)) for name in outputs] for function in group] for group in filled]
    offsets = [[float(function.get("", 0)) for function in group] for group in filled]
    lower, upper = (torch.tensor([side], dtype=torch.float64) for side in box)
    return Question(
        Box(lower, upper), torch.tensor(rows, dtype=torch.float64), torch.tensor(offsets, dtype=torch.float64)
    )
