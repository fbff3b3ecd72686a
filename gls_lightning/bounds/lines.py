"""Linear lower and upper bounds of an activation."""

from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor

LowerSlope: TypeAlias = Literal["adaptive", "zero", "one", "parallel"]
"""The choice among the sound lower lines through the kink of an unstable (Leaky)ReLU.

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

    def around(self, argument: Tensor) -> "Band":
        """Writes the lines around the point of the upper one at ``argument [B, *shape]``."""
        narrowing = self.lower_slope - self.upper_slope
        gap = self.upper_offset - self.lower_offset - narrowing * argument
        return Band(self.upper_slope, narrowing, gap, self.upper_slope * argument + self.upper_offset)


class Band(NamedTuple):
    """Lines written around a point of the upper one, ``[B, *shape]`` each.

    Where the argument deviates from the point's by ``v``, the value deviates from ``centre`` by at most ``slope * v``
    and at least ``(slope + narrowing) * v - gap``.
    """

    slope: Tensor
    narrowing: Tensor
    gap: Tensor
    centre: Tensor

    def widened(self, by: Tensor, gamma: float) -> "Band":
        """Returns the band with its lines moved apart by ``by [B, *shape]`` each, and sums of gaps wrong by ``gamma``.

        Outside the box a gap may be negative, but is above ``-2 * by / gamma``.
        """
        gap = self.gap.mul(1 + gamma).add_(by, alpha=6)  # 2 for the lines, 4 for what negative gaps should have lost
        return self._replace(gap=gap, centre=self.centre + by)
