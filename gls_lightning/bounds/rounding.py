"""Rounding errors of bounds, and the part of a bound that is given away so that it stays one.

A sum of ``n`` products in floating point differs from the exact one by at most ``gamma`` times the sum of the absolute
products, with ``gamma = n u / (1 - n u)`` for the unit roundoff ``u``, in whatever order it is taken (Higham, 2002,
Section 3.1). One ``gamma`` serves a whole network: that of its largest value, and some more for what is not a sum.

Bounds are computed as if the network were a slightly uncertain one: each operation's output is known up to ``gamma``
times a scale. Intervals are widened by it. Back-substitution, whose coefficients are rounded
too, charges it to the lines around the next activation, which then lie further apart, and in the end to the
specification; so it costs next to nothing for each function that is bounded.
"""

import torch
from torch import Tensor

EXTRA_TERMS = 64
"""Operations on a value that are not part of a sum: scaling, lines of an activation, centres, radii and sides of boxes.

A box that was made from centre and radius goes on with these; its sides, which activations take, are rounded once more.
"""


def gamma(terms: int, dtype: torch.dtype) -> float:
    """Bounds the relative error of a sum of so many products."""
    rounding = terms * torch.finfo(dtype).eps / 2
    if rounding >= 0.5:
        return float("inf")  # no digit is left
    return rounding / (1 - rounding)


def smallest(dtype: torch.dtype) -> float:
    """Returns the margin that a bound gives away to numbers below the smallest normal one."""
    return float(torch.finfo(dtype).tiny ** 0.5)


def limited(scale: Tensor) -> Tensor:
    """Returns the scale ``[B, ...]``, infinite where products of such numbers may overflow or underflow."""
    return torch.where(scale < 1 / smallest(scale.dtype), scale, torch.inf)


def per_sample(values: Tensor, dimensions: int) -> Tensor:
    """Reshapes numbers ``[B]`` so that they broadcast to ``[B, ...]`` with so many dimensions behind the batch."""
    return values.reshape(-1, *(1,) * dimensions)


def largest(values: Tensor) -> Tensor:
    """Returns the largest absolute value of each sample ``[B, ...]``: ``[B]``."""
    values = values.flatten(1)
    return torch.maximum(values.amax(1), -values.amin(1))  # without a copy, which abs would make
