"""Sigmoid."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.bounds.operations.operation import Operation
from gls_lightning.bounds.operations.registry import Call, implements
from gls_lightning.bounds.operations.s_shaped import SShaped


class Sigmoid(SShaped):
    """``1 / (1 + exp(-v))``."""

    @override
    def value(self, v: Tensor) -> Tensor:
        return torch.sigmoid(v)

    @override
    def slope(self, v: Tensor) -> Tensor:
        return torch.sigmoid(v) * torch.sigmoid(-v)  # 1 - sigmoid(v) would round to 0 too early


@implements(nn.Sigmoid, torch.sigmoid, "sigmoid")
def _build(call: Call) -> Operation:
    return call.make(Sigmoid)
