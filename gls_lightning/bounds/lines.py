"""Linear lower and upper bounds of an activation."""

from typing import NamedTuple

from torch import Tensor


class Lines(NamedTuple):
    """``lower_slope * v + lower_offset <= activation(v) <= upper_slope * v + upper_offset``, each ``[B, *shape]``."""

    lower_slope: Tensor
    lower_offset: Tensor
    upper_slope: Tensor
    upper_offset: Tensor
