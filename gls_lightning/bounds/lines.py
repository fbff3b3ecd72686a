"""Linear lower and upper bounds of an activation."""

from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor

LowerSlope: TypeAlias = Literal["adaptive", "zero", "one", "parallel"]
"""Which of the sound lower lines through the kink of an unstable (Leaky)ReLU is taken.

``adaptive``: slope 1 where ``u > -l``, else the smallest (DeepPoly, CROWN-Ada); ``zero``: the smallest, 0 or the
negative slope (zero-lb); ``one``: 1 (one-lb); ``parallel``: the slope of the chord above (Fast-Lin, same-slope). The
rules differ in the slope alone, so everything between two of them is sound. Other activations offer no choice.
"""


class Lines(NamedTuple):
    """``lower_slope * v + lower_offset <= activation(v) <= upper_slope * v + upper_offset``, each ``[B, *shape]``."""

    lower_slope: Tensor
    lower_offset: Tensor
    upper_slope: Tensor
    upper_offset: Tensor

    def around(self, argument: Tensor, value: Tensor) -> "Lines":
        """The same lines for the deviations of the activation's argument and value from these, ``[B, *shape]`` each."""
        return Lines(
            self.lower_slope,
            self.lower_slope * argument + self.lower_offset - value,
            self.upper_slope,
            self.upper_slope * argument + self.upper_offset - value,
        )
