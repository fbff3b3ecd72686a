"""ReLU."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.lines import Lines, LowerSlope
from gls_lightning.bounds.operations.operation import Activation, Operation, Tensors
from gls_lightning.bounds.operations.registry import Call, implements
from gls_lightning.bounds.rational import Rationals


class ReLU(Activation):
    """``max(v, 0)``."""

    @override
    def evaluate(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return torch.relu(inputs[0])

    @override
    def exactly(self, tensors: Tensors, *inputs: Rationals) -> Rationals:
        return inputs[0].map(lambda values: np.maximum(values, 0))

    @override
    def interval(self, tensors: Tensors, *inputs: Box) -> Box:
        return Box(torch.relu(inputs[0].lower), torch.relu(inputs[0].upper))

    @override
    def rounding(self, tensors: Tensors, inputs: Sequence[Box], output: Box) -> Tensor | None:
        return None

    @override
    def steepness(self, lines: Lines) -> Tensor:
        return (lines.upper_slope != 0).to(lines.upper_slope.dtype)  # nothing passes a dead ReLU

    @override
    def lines(self, box: Box, lower_slope: LowerSlope = "adaptive") -> Lines:
        return relu_lines(box, lower_slope)


def relu_lines(box: Box, lower_slope: LowerSlope) -> Lines:
    """Computes lines below and above the ReLU; with the adaptive rule those of DeepPoly (paper, Eq. 5).

    Unstable neurons (``l < 0 < u``) get the chord above and, below, a line through 0 with a slope from 0 to 1. Active
    and dead neurons are exact; as in PyTorch, the slope at 0 is 0.
    """
    lower, upper = box
    above, below = torch.relu(upper), torch.relu(-lower)
    width = above + below
    chord = above / torch.where(width != 0, width, 1)  # 1 where active, 0 where dead; NaN stays NaN, never stable
    if lower_slope == "parallel":
        slope = chord
    else:
        steep = {"adaptive": upper > -lower, "zero": (lower >= 0) & (upper > 0), "one": upper > 0}
        slope = steep[lower_slope].to(lower.dtype)
    return Lines(slope, torch.zeros_like(lower), chord, chord * below)


@implements(nn.ReLU, F.relu, torch.relu, "relu")
def _build(call: Call) -> Operation:
    return call.make(ReLU)
