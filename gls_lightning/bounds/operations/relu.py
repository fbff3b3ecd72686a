"""ReLU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.lines import Lines
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

    def lines(self, box: Box) -> Lines:
        """DeepPoly's lines (paper, Eq. 5).

        Unstable neurons (``l < 0 < u``) get the chord above and, below, slope 1 where ``u > -l`` and 0 otherwise, ties
        included. Active and dead neurons are exact.
        """
        lower, upper = box
        active = lower >= 0
        unstable = ~(active | (upper <= 0))  # also where a bound is NaN, which must not pass for stable
        # Stable neurons leave the division altogether: a 0 / 0 masked afterwards would still give NaN gradients.
        width = torch.where(unstable, upper - lower, 1).clamp_min(torch.finfo(lower.dtype).tiny)
        chord = torch.where(unstable, upper, 0) / width
        lower_slope = (active | unstable & (upper > -lower)).to(lower.dtype)
        upper_slope = torch.where(active, 1, chord)
        return Lines(lower_slope, torch.zeros_like(lower), upper_slope, -chord * torch.where(unstable, lower, 0))


@implements(nn.ReLU, F.relu, torch.relu, "relu")
def _build(call: Call) -> Operation:
    return call.make(ReLU)
