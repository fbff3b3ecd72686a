"""Activations that are convex below 0 and concave above."""

from abc import abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.lines import Lines, LowerSlope
from gls_lightning.bounds.operations.operation import Activation, Tensors


class SShaped(Activation):
    """An increasing activation whose slope grows up to 0, falls from there, and is the same at ``v`` and ``-v``."""

    @abstractmethod
    def value(self, v: Tensor) -> Tensor:
        """Returns the activation at ``v``."""

    @abstractmethod
    def slope(self, v: Tensor) -> Tensor:
        """Returns its derivative at ``v``."""

    @override
    def evaluate(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return self.value(inputs[0])

    @override
    def interval(self, tensors: Tensors, *inputs: Box) -> Box:
        return Box(*map(self.value, inputs[0]))

    @override
    def lines(self, box: Box, lower_slope: LowerSlope = "adaptive") -> Lines:
        """Computes the lines of DeepPoly (Singh et al., 2019), through the ends of the activation.

        The line below has the slope of the chord where the activation is concave and otherwise the smaller of the
        slopes at the ends, which is the smallest in the box; the line above likewise where it is convex.
        """
        lower, upper = box
        low, high = map(self.value, box)
        ends = self.slope(lower), self.slope(upper)
        smallest, largest = torch.minimum(*ends), torch.maximum(*ends)
        width = upper - lower
        # On one side of 0 the chord lies between the slopes at the ends; the limits hold it there where it is 0 / 0.
        chord = ((high - low) / torch.where(width > 0, width, 1)).clamp(smallest, largest)
        below = torch.where(lower >= 0, chord, smallest)
        above = torch.where(upper <= 0, chord, smallest)
        return Lines(below, low - below * lower, above, high - above * upper)
