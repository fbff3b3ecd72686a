"""ReLU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.lines import Lines, LowerSlope
from gls_lightning.bounds.operations.operation import Activation, Operation, Tensors
from gls_lightning.bounds.operations.registry import Call, implements


class ReLU(Activation):
    """``max(v, 0)``."""

    @override
    def evaluate(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return torch.relu(inputs[0])

    @override
    def interval(self, tensors: Tensors, *inputs: Box) -> Box:
        return Box(torch.relu(inputs[0].lower), torch.relu(inputs[0].upper))

    @override
    def lines(self, box: Box, lower_slope: LowerSlope = "adaptive") -> Lines:
        return relu_lines(box, lower_slope)


def relu_lines(box: Box, lower_slope: LowerSlope) -> Lines:
    """Lines below and above the ReLU; with the adaptive rule those of DeepPoly (paper, Eq. 5).

    Unstable neurons (``l < 0 < u``) get the chord above and, below, a line through 0 with a slope from 0 to 1. Active
    and dead neurons are exact.
    """
    lower, upper = box
    active = lower >= 0
    unstable = ~(active | (upper <= 0))  # also where a bound is NaN, which must not pass for stable
    # Stable neurons leave the division altogether: a 0 / 0 masked afterwards would still give NaN gradients.
    width = torch.where(unstable, upper - lower, 1).clamp_min(torch.finfo(lower.dtype).tiny)
    chord = torch.where(unstable, upper, 0) / width
    upper_slope = torch.where(active, 1, chord)
    if lower_slope == "parallel":
        below = upper_slope
    else:
        steep: dict[str, Tensor | bool] = {"adaptive": upper > -lower, "zero": False, "one": True}
        below = (active | unstable & steep[lower_slope]).to(lower.dtype)
    return Lines(below, torch.zeros_like(lower), upper_slope, -chord * torch.where(unstable, lower, 0))


@implements(nn.ReLU, F.relu, torch.relu, "relu")
def _build(call: Call) -> Operation:
    return call.make(ReLU)
