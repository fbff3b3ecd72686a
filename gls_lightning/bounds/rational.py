"""Rational numbers, for questions that floating point cannot decide."""

import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Integers = NDArray[np.object_]
"""Python's integers, of any size."""


class NotRationalError(ValueError):
    """An operation does not compute rational numbers from rational ones, or its numbers are not finite."""


class Rationals(NamedTuple):
    """Values ``numerators / denominator``, exact.

    Attributes:
        numerators: Integers of any shape.
        denominator: One positive integer for all.
    """

    numerators: Integers
    denominator: int

    @classmethod
    def of(cls, values: Tensor) -> "Rationals":
        """Reads the numbers that a tensor holds.

        Raises:
            NotRationalError: One is not finite.
        """
        numbers = values.detach().cpu().double().numpy()
        if not np.isfinite(numbers).all():
            raise NotRationalError
        return cls.of_fractions([Fraction(number) for number in numbers.ravel().tolist()], numbers.shape)

    @classmethod
    def of_fractions(cls, values: list[Fraction], shape: tuple[int, ...]) -> "Rationals":
        """Writes fractions in this shape with their common denominator."""
        denominator = math.lcm(*{value.denominator for value in values})
        numerators = np.empty(len(values), object)
        numerators[:] = [value.numerator * (denominator // value.denominator) for value in values]
        return cls(numerators.reshape(shape), denominator)

    def map(self, function: Any) -> "Rationals":
        """Applies a function to the numerators."""
        return Rationals(function(self.numerators), self.denominator)

    def __add__(self, other: "Rationals") -> "Rationals":  # type: ignore[override]
        common = math.lcm(self.denominator, other.denominator)
        mine, theirs = common // self.denominator, common // other.denominator
        return Rationals(self.numerators * mine + other.numerators * theirs, common)

    def __mul__(self, other: "Rationals") -> "Rationals":  # type: ignore[override]
        return Rationals(self.numerators * other.numerators, self.denominator * other.denominator)

    def __matmul__(self, other: "Rationals") -> "Rationals":
        return Rationals(self.numerators @ other.numerators, self.denominator * other.denominator)

    def fractions(self) -> list[Fraction]:
        """Lists the values, flat."""
        return [Fraction(numerator, self.denominator) for numerator in self.numerators.ravel()]


def rounded_down(value: Fraction) -> float:
    """Returns the largest number of float64 that is no larger; infinite below the smallest one."""
    return -rounded_up(-value)


def rounded_up(value: Fraction) -> float:
    """Returns the smallest number of float64 that is no smaller; infinite beyond the largest one."""
    try:
        nearest = float(value)
    except OverflowError:
        return math.inf if value > 0 else -torch.finfo(torch.float64).max
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)
