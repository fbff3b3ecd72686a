"""Axis-aligned boxes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gls_lightning.arguments import require


class _Sides(NamedTuple):
    lower: Tensor
    upper: Tensor


class Box(_Sides):
    """All points between ``lower`` and ``upper``, coordinate by coordinate.

    A box made from centre and radius keeps them, so that affine operations, which map these, need not find them again.

    Attributes:
        lower: Smallest value of each coordinate, ``[B, *shape]``.
        upper: Largest value of each coordinate, ``[B, *shape]``.

    Example:
        >>> Box.around(torch.tensor([[0.0, 0.5]]), epsilon=0.25)
        Box(lower=tensor([[0.0000, 0.2500]]), upper=tensor([[0.2500, 0.7500]]))
    """

    _middle: tuple[Tensor, Tensor] | None = None

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
        held = self if self._middle is None else (*self, *self._middle)
        return [_with_middle(*part) for part in zip(*(tensor.split(size) for tensor in held), strict=True)]

    def intersection(self, other: "Box") -> "Box":
        """Returns the points that both boxes hold, of which there is at least one."""
        return Box(torch.maximum(self.lower, other.lower), torch.minimum(self.upper, other.upper))

    @property
    def centre(self) -> Tensor:
        """Midpoint, ``[B, *shape]``."""
        return (self.lower + self.upper) / 2 if self._middle is None else self._middle[0]

    @property
    def radius(self) -> Tensor:
        """Half of the width, ``[B, *shape]``; exactly 0 where the box is degenerate."""
        return (self.upper - self.lower) / 2 if self._middle is None else self._middle[1]

    @property
    def middle(self) -> tuple[Tensor, Tensor]:
        """Midpoint and half of the width, together in fewer operations."""
        if self._middle is not None:
            return self._middle
        radius = self.radius
        return self.upper - radius, radius

    @property
    def largest(self) -> Tensor:
        """The largest absolute value of each sample's points, ``[B]``."""
        return torch.maximum(self.upper.flatten(1).amax(1), -self.lower.flatten(1).amin(1))

    def widened(self, by: Tensor) -> "Box":
        """Returns the box with both sides moved outwards by ``by [B, *shape]``, or what broadcasts to it."""
        middle = () if self._middle is None else (self._middle[0], self._middle[1] + by)
        return _with_middle(self.lower - by, self.upper + by, *middle)

    def rearranged(self, arrange: Callable[[Tensor], Tensor]) -> "Box":
        """Returns the box with a function applied that puts elements elsewhere and does not change them."""
        return _with_middle(*map(arrange, self if self._middle is None else (*self, *self._middle)))

    @classmethod
    def from_centre(cls, centre: Tensor, radius: Tensor) -> "Box":
        """Returns the box with this midpoint and half-width, each ``[B, *shape]``."""
        return _with_middle(centre - radius, centre + radius, centre, radius)


def _with_middle(lower: Tensor, upper: Tensor, *middle: Tensor) -> Box:
    box = Box(lower, upper)
    if middle:
        centre, radius = middle
        box._middle = centre, radius
    return box
