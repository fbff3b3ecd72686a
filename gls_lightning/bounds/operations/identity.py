"""Layers that change nothing outside of training."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.operations.elementwise import ElementwiseAffine
from gls_lightning.bounds.operations.operation import Operation, Tensors
from gls_lightning.bounds.operations.registry import Call, implements
from gls_lightning.bounds.rational import Rationals


@dataclass(frozen=True, kw_only=True)
class Identity(ElementwiseAffine):
    """The input, unchanged; dropout among others.

    Attributes:
        dropout: Probability with which training would drop elements.
    """

    dropout: float = 0.0

    @override
    def exactly(self, tensors: Tensors, *inputs: Rationals) -> Rationals:
        return inputs[0]

    @override
    def interval(self, tensors: Tensors, *inputs: Box) -> Box:
        return inputs[0]

    @override
    def rounding(self, tensors: Tensors, inputs: Sequence[Box], output: Box) -> Tensor | None:
        return None

    @override
    def scale_and_shift(self, tensors: Tensors) -> tuple[Tensor | None, Tensor | None]:
        return None, None


@implements(nn.Identity, "contiguous")
def _build(call: Call) -> Operation:
    return call.make(Identity)


@implements(nn.Dropout, nn.Dropout1d, nn.Dropout2d, F.dropout)
def _build_dropout(call: Call) -> Operation:
    default = getattr(call.module, "p", 0.5)
    probability = call.options.get("p", call.operands[1] if len(call.operands) > 1 else default)
    return call.make(Identity, dropout=float(probability))
