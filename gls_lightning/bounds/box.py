"""Axis-aligned boxes."""

from typing import NamedTuple

import torch
from torch import Tensor

from gls_lightning.arguments import require


class Box(NamedTuple):
    """All points between ``lower`` and ``upper``, coordinate by coordinate.

    Attributes:
        lower: Smallest value of each coordinate, ``[B, *shape]``.
        upper: Largest value of each coordinate, ``[B, *shape]``.

    Example:
        >>> Box.around(torch.tensor([[0.0, 0.5]]), epsilon=0.25)
        Box(lower=tensor([[0.0000, 0.2500]]), upper=tensor([[0.2500, 0.7500]]))
    """

    lower: Tensor
    upper: Tensor

    @classmethod
    def around(cls, x: Tensor, epsilon: Tensor | float, minimum: float = 0.0, maximum: float = 1.0) -> "Box":
        """Returns the l-infinity ball of radius ``epsilon`` around ``x``, clipped to ``[minimum, maximum]``.

        Args:
            x: Centres, ``[B, *shape]``.
            epsilon: Radius in the units of ``x``, at least 0.
            minimum: Smallest valid value of an input.
            maximum: Largest valid value of an input.

        Raises:
            ConfigurationError: If ``epsilon`` is a negative number.
        """
        require(not isinstance(epsilon, float | int) or epsilon >= 0, "epsilon", epsilon, "at least 0")
        return cls((x - epsilon).clamp(minimum, maximum), (x + epsilon).clamp(minimum, maximum))

    def split(self, size: int) -> "list[Box]":
        """Splits the batch into parts of so many samples; the last one may be smaller."""
        return [Box(*sides) for sides in zip(*(side.split(size) for side in self), strict=True)]

    def intersection(self, other: "Box") -> "Box":
        """Returns the points that both boxes hold, of which there is at least one."""
        return Box(torch.maximum(self.lower, other.lower), torch.minimum(self.upper, other.upper))

    @property
    def centre(self) -> Tensor:
        """Midpoint, ``[B, *shape]``."""
        return (self.lower + self.upper) / 2

    @property
    def radius(self) -> Tensor:
        """Half of the width, ``[B, *shape]``; exactly 0 where the box is degenerate."""
        return (self.upper - self.lower) / 2

    @property
    def largest(self) -> Tensor:
        """The largest absolute value of each sample's points, ``[B]``."""
        return torch.maximum(self.upper.flatten(1).amax(1), -self.lower.flatten(1).amin(1))

    def widened(self, by: Tensor) -> "Box":
        """Returns the box with both sides moved outwards by ``by [B, *shape]``, or what broadcasts to it."""
        return Box(self.lower - by, self.upper + by)

    @classmethod
    def from_centre(cls, centre: Tensor, radius: Tensor) -> "Box":
        """Returns the box with this midpoint and half-width, each ``[B, *shape]``."""
        return cls(centre - radius, centre + radius)
