"""Tanh."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.bounds.operations.operation import Operation
from gls_lightning.bounds.operations.registry import Call, implements
from gls_lightning.bounds.operations.s_shaped import SShaped


class Tanh(SShaped):
    """``tanh(v)``, which is ``2 * sigmoid(2 * v) - 1``."""

    @override
    def value(self, v: Tensor) -> Tensor:
        return torch.tanh(v)

    @override
    def slope(self, v: Tensor) -> Tensor:
        return 4 * torch.sigmoid(2 * v) * torch.sigmoid(-2 * v)


@implements(nn.Tanh, torch.tanh, "tanh")
def _build(call: Call) -> Operation:
    return call.make(Tanh)
