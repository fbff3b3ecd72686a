"""The fully connected layer."""

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.operations.operation import AffineOperation, Operation, Tensors
from gls_lightning.bounds.operations.registry import Call, Constant, implements
from gls_lightning.bounds.rational import Rationals
from gls_lightning.bounds.rows import DenseRows, Rows
from gls_lightning.bounds.zonotope import Errors


@dataclass(frozen=True, kw_only=True)
class Linear(AffineOperation):
    """``W v + b`` of a vector.

    Attributes:
        weight: Name of ``W``.
        bias: Name of ``b``, if any.
    """

    weight: str
    bias: str | None

    @override
    def evaluate(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return F.linear(inputs[0], tensors[self.weight], self._bias(tensors))

    @override
    def exactly(self, tensors: Tensors, *inputs: Rationals) -> Rationals:
        products = Rationals.of(tensors[self.weight]) @ inputs[0]
        return products if self.bias is None else products + Rationals.of(tensors[self.bias])

    @override
    def interval(self, tensors: Tensors, *inputs: Box) -> Box:
        weight = tensors[self.weight]
        centre, radius = inputs[0].middle
        return Box.from_centre(F.linear(centre, weight, self._bias(tensors)), F.linear(radius, weight.abs()))

    @override
    def magnitude(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return magnitude(tensors[self.weight], self._bias(tensors), inputs[0])

    @override
    def errors(self, tensors: Tensors, *inputs: Errors) -> Errors:
        return replace(inputs[0], values=F.linear(inputs[0].values, tensors[self.weight]))

    @override
    def backward(self, tensors: Tensors, rows: Rows) -> tuple[Rows, ...]:
        values = rows.to_dense().values @ tensors[self.weight]
        return (DenseRows(values, self.input_shapes[0], rows.functions),)

    def _bias(self, tensors: Tensors) -> Tensor | None:
        return None if self.bias is None else tensors[self.bias]


def magnitude(weight: Tensor, bias: Tensor | None, largest: Tensor) -> Tensor:
    """Bounds absolute sums, ``[B, M]``, with weights ``[M, ...]`` and inputs of at most ``largest [B]``."""
    products = largest[:, None] * weight.flatten(1).abs().sum(1)
    return products if bias is None else products + bias.abs()


@implements(nn.Linear)
def _build(call: Call) -> Operation:
    return _of_vector(call, call.tensor("weight"), call.tensor("bias"))


@implements(F.linear)
def _build_functional(call: Call) -> Operation:
    weight, bias, *_ = (*call.operands[1:], *call.options.values(), None)
    return _of_vector(call, _name(call, weight), None if bias is None else _name(call, bias))


def _name(call: Call, operand: object) -> str:
    if not (isinstance(operand, Constant) and isinstance(operand.source, str)):
        call.refuse("weight and bias must be parameters")
    return operand.source


def _of_vector(call: Call, weight: str | None, bias: str | None) -> Operation:
    if len(call.input_shapes[0]) != 1:
        call.refuse(f"its input has the shape {tuple(call.input_shapes[0])}; flatten it first")
    return call.make(Linear, weight=weight, bias=bias)
