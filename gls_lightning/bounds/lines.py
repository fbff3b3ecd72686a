"""Linear lower and upper bounds of an activation."""

from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor

LowerSlopeRule: TypeAlias = Literal["adaptive", "zero", "one", "parallel"]
"""Which of the sound lower lines through the kink of an unstable (Leaky)ReLU is taken.

``adaptive``: slope 1 where ``u > -l``, the smallest possible otherwise (DeepPoly, CROWN-Ada); ``zero``: the smallest
possible (zero-lb); ``one``: 1 (one-lb); ``parallel``: the slope of the chord above (Fast-Lin, same-slope).
"""

LowerSlope: TypeAlias = LowerSlopeRule | Tensor
"""A rule, or for every neuron its place between the smallest (0) and the largest (1) sound lower slope, ``[B, *shape]``
or broadcasting to it. Activations that offer no such choice ignore it."""


class Lines(NamedTuple):
    """``lower_slope * v + lower_offset <= activation(v) <= upper_slope * v + upper_offset``, each ``[B, *shape]``."""

    lower_slope: Tensor
    lower_offset: Tensor
    upper_slope: Tensor
    upper_offset: Tensor
