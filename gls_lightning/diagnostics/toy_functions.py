"""Loss functions of one weight whose Gaussian smoothing is known in closed form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gls_lightning.arguments import require
from gls_lightning.errors import ConfigurationError


@dataclass(frozen=True)
class PiecewiseLinear:
    """A function of one weight that is linear between each two breaks, and may jump at the breaks.

    With slopes 0 it is one of the quantized functions of the paper's Appendix B.2.

    Attributes:
        breaks: Weights at which pieces meet, ``k`` increasing numbers. At a break the left piece counts.
        intercepts: Value at 0 of each piece's line, from left to right, ``k + 1`` numbers.
        slopes: Slope of each piece, ``k + 1`` numbers.

    Raises:
        ConfigurationError: The numbers do not fit together.

    Example:
        >>> step = PiecewiseLinear(breaks=[0.0], intercepts=[1.0, 0.0], slopes=[0.0, 0.0])
        >>> w = torch.tensor([-1.0, 0.0, 1.0])
        >>> step(w), step.smoothed(w, sigma=0.5)
        (tensor([1., 1., 0.]), tensor([0.9772, 0.5000, 0.0228]))
    """

    breaks: Sequence[float]
    intercepts: Sequence[float]
    slopes: Sequence[float]

    def __post_init__(self) -> None:
        pieces = len(self.breaks) + 1
        if not len(self.intercepts) == len(self.slopes) == pieces:
            raise ConfigurationError(
                f"{len(self.breaks)} breaks have {len(self.intercepts)} intercepts and {len(self.slopes)} slopes; they "
                f"need {pieces} of each"
            )
        require(list(self.breaks) == sorted(set(self.breaks)), "breaks", list(self.breaks), "increasing")

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]], slopes: tuple[float, float]) -> "PiecewiseLinear":
        """Makes the continuous function through points ``(w, value)``, with these slopes on the far left and right."""
        places, values = zip(*points, strict=True)
        between = [(b - a) / (v - u) for u, v, a, b in zip(places, places[1:], values, values[1:], strict=False)]
        all_slopes = [slopes[0], *between, slopes[1]]
        ends = zip((0, *range(len(points))), all_slopes, strict=True)
        return cls(places, [values[point] - slope * places[point] for point, slope in ends], all_slopes)

    def __call__(self, w: Tensor) -> Tensor:
        """Computes the values at ``w``, of any shape."""
        piece = torch.bucketize(w, w.new_tensor(self.breaks))
        return w.new_tensor(self.intercepts)[piece] + w.new_tensor(self.slopes)[piece] * w

    def smoothed(self, w: Tensor, sigma: float) -> Tensor:
        """Computes E f(w + sigma z) for a standard normal z exactly; ``w`` of any shape, ``sigma`` positive.

        The part of a piece is the value of its line at ``w`` times the probability that ``w + sigma z`` falls on the
        piece, plus its slope times the mean of ``sigma z`` over this event.
        """
        z = (w.new_tensor(self.breaks) - w[..., None]) / sigma
        below, density = torch.special.ndtr(z), torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        mass = F.pad(F.pad(below, (1, 0), value=0.0), (0, 1), value=1.0).diff(dim=-1)
        drift = -sigma * F.pad(density, (1, 1)).diff(dim=-1)
        slopes = w.new_tensor(self.slopes)
        lines = w.new_tensor(self.intercepts) + slopes * w[..., None]
        smoothed: Tensor = (lines * mass + slopes * drift).sum(-1)
        return smoothed


DISCONTINUOUS = PiecewiseLinear(breaks=(0.0,), intercepts=(1.0, 0.0), slopes=(0.0, 1.0))
"""The paper's Fig. 3a: DeepPoly's lower bound of ReLU(x + w) + 1 over x in [-1, 1]."""

SENSITIVE = PiecewiseLinear.through([(-0.75, 1.0), (0.0, 1.5), (1.0, 0.0)], slopes=(-2 / 3, 4.0))
"""In the spirit of the paper's Fig. 3b, for which it gives no formula: a bad local minimum between -1.5 and 0.

Of the sigmas there, 0.25 leaves the local minimum, 0.5 removes it, and 1 moves the remaining one far from the best.
"""
