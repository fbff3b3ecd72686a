"""LeakyReLU."""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.lines import Lines, LowerSlope
from gls_lightning.bounds.operations.operation import Activation, Operation, Tensors
from gls_lightning.bounds.operations.registry import Call, implements
from gls_lightning.bounds.operations.relu import relu_lines
from gls_lightning.bounds.rational import Rationals


@dataclass(frozen=True, kw_only=True)
class LeakyReLU(Activation):
    """``v`` where it is positive and ``negative_slope * v`` elsewhere.

    Attributes:
        negative_slope: Between 0 and 1.
    """

    negative_slope: float

    @override
    def evaluate(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return F.leaky_relu(inputs[0], self.negative_slope)

    @override
    def exactly(self, tensors: Tensors, *inputs: Rationals) -> Rationals:
        slope = Fraction(self.negative_slope)
        numerators = inputs[0].numerators
        return Rationals(
            np.where(numerators > 0, numerators * slope.denominator, numerators * slope.numerator),
            inputs[0].denominator * slope.denominator,
        )

    @override
    def interval(self, tensors: Tensors, *inputs: Box) -> Box:
        return Box(*(self.evaluate(tensors, side) for side in inputs[0]))

    @override
    def lines(self, box: Box, lower_slope: LowerSlope = "adaptive") -> Lines:
        """Returns the lines of the ReLU, as ``negative_slope * v + (1 - negative_slope) * relu(v)`` has them."""
        share = 1 - self.negative_slope
        below, below_offset, above, above_offset = relu_lines(box, lower_slope)
        return Lines(
            *(self.negative_slope + share * below, share * below_offset),
            *(self.negative_slope + share * above, share * above_offset),
        )


@implements(nn.LeakyReLU)
def _build(call: Call) -> Operation:
    activation = call.module
    assert isinstance(activation, nn.LeakyReLU)
    if not 0 <= activation.negative_slope <= 1:
        call.refuse(f"negative_slope is {activation.negative_slope}; it must lie between 0 and 1")
    return call.make(LeakyReLU, negative_slope=float(activation.negative_slope))


@implements(F.leaky_relu)
def _build_functional(call: Call) -> Operation:
    return _build(replace(call, module=nn.LeakyReLU(*call.operands[1:], **call.options)))
