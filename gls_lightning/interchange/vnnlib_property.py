"""A property of a network: a set of outputs that no input of a box may reach."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from gls_lightning.bounds import Box, rounded_down, rounded_up
from gls_lightning.certification.branch_and_bound import Question
from gls_lightning.errors import ConfigurationError
from gls_lightning.interchange.vnnlib_reader import Assertions, Case, Linear, read_assertions

Sides = tuple[tuple[Fraction, ...], tuple[Fraction, ...]]
"""Lower and upper bound of each input."""


@dataclass(frozen=True)
class Region:
    """One input box, and the outputs that are asked for.

    Attributes:
        question: The box, each side ``[1, num_inputs]``, and the groups of functions in float64. The box is rounded
            outwards and the constants down, so that the answer no holds for the exact property, too.
        offsets_above: The constants rounded up, ``[Q, m]``, so that the answer yes, at a point of the exact box, holds
            for the exact property, too.
        limits: The exact sides of the box.
        groups: The exact functions; an input is asked for at which all functions of one group are at most 0.
    """

    question: Question
    offsets_above: torch.Tensor
    limits: Sides
    groups: tuple[Case, ...]

    def is_reached(self, inputs: Sequence[Fraction], outputs: Sequence[float]) -> bool:
        """Says whether the point is in the box, and all functions of some group are at most 0 at its outputs."""
        inside = all(low <= x <= high for low, x, high in zip(self.limits[0], inputs, self.limits[1], strict=True))
        values = {"": Fraction(1), **{f"Y_{i}": Fraction(y) for i, y in enumerate(outputs)}}
        return inside and any(all(_value(f, values) <= 0 for f in group) for group in self.groups)


@dataclass(frozen=True)
class VnnlibProperty:
    """The property in a VNN-LIB file.

    Attributes:
        num_inputs: Number of input elements.
        num_outputs: Number of output elements.
        regions: A region for each input box; the answer is yes ("sat") if it is yes for one of them.
    """

    num_inputs: int
    num_outputs: int
    regions: tuple[Region, ...]


def read_property(path: Path) -> VnnlibProperty:
    """Reads a property in VNN-LIB 1.0.

    Every assertion must bound a single input by a number, or be linear in outputs alone.

    Raises:
        ConfigurationError: The file cannot be read, has another form, or has coefficients with too many digits.
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
    boxes: dict[Sides, list[Case]] = {}
    for case in assertions.cases:
        more_bounds, more_rows = _separated(case)
        box = _box([*bounds, *more_bounds], inputs)
        if all(lower <= upper for lower, upper in zip(*box, strict=True)):
            boxes.setdefault(box, []).append((*rows, *more_rows))
    regions = (_region(box, tuple(groups), outputs) for box, groups in boxes.items())
    return VnnlibProperty(len(inputs), len(outputs), tuple(regions))


def _numbered(kind: str, variables: Sequence[str]) -> list[str]:
    """Returns the variables of a kind in the order of their numbers, which must leave none out."""
    names = [f"{kind}_{number}" for number in range(sum(name[0] == kind for name in variables))]
    if not names or not set(names) <= set(variables):
        raise ConfigurationError(f"variables {kind}_0, {kind}_1 and so on must be declared, none left out")
    return names


def _separated(case: Case) -> tuple[list[Linear], list[Linear]]:
    """Separates the functions of inputs from the functions of outputs."""
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


def _box(bounds: Sequence[Linear], inputs: Sequence[str]) -> Sides:
    """Finds the tightest lower and upper bound of each input."""
    lower: dict[str, Fraction] = {}
    upper: dict[str, Fraction] = {}
    for function in bounds:
        (name,) = function.keys() - {""}
        value = -function.get("", Fraction(0)) / function[name]
        if function[name] > 0:
            upper[name] = min(value, upper.get(name, value))
        else:
            lower[name] = max(value, lower.get(name, value))
    if any(abs(value) >= _LARGEST for side in (lower, upper) for value in side.values()):
        raise ConfigurationError("an input is bounded by a number of 300 digits or more, beyond those of float64")
    if unbounded := [name for name in inputs if name not in lower or name not in upper]:
        raise ConfigurationError(f"{unbounded[0]} must have a lower and an upper bound")
    return tuple(lower[name] for name in inputs), tuple(upper[name] for name in inputs)


def _region(sides: Sides, groups: tuple[Case, ...], outputs: Sequence[str]) -> Region:
    longest = max(1, *map(len, groups))
    filled = [[*map(_exact, group), *[_exact(group[0]) if group else {}] * (longest - len(group))] for group in groups]
    rows = [[[float(function.get(name, 0)) for name in outputs] for function in group] for group in filled]
    constants = [[function.get("", Fraction(0)) for function in group] for group in filled]
    box = Box(_tensor([[*map(rounded_down, sides[0])]]), _tensor([[*map(rounded_up, sides[1])]]))
    below, above = ([[rounded(c) for c in group] for group in constants] for rounded in (rounded_down, rounded_up))
    return Region(Question(box, _tensor(rows), _tensor(below)), _tensor(above), sides, groups)


def _tensor(numbers: list[Any]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def _exact(function: Linear) -> Linear:
    """Multiplies a function by a positive number that makes its coefficients exact in float64."""
    for factor in (1, math.lcm(*(value.denominator for name, value in function.items() if name))):
        scaled = {name: factor * value for name, value in function.items()}
        if all(abs(v) < _LARGEST and Fraction(float(v)) == v for name, v in scaled.items() if name):
            return scaled
    raise ConfigurationError(f"an assertion has coefficients that are no multiples of numbers of float64: {function}")


def _value(function: Linear, values: Mapping[str, Fraction]) -> Fraction:
    return sum((coefficient * values[name] for name, coefficient in function.items()), Fraction(0))


_LARGEST = 2**1000
"""Limit of coefficients, near the largest number of float64."""
