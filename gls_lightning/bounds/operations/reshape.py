"""Flatten, view and reshape."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.operations.operation import AffineOperation, Operation, Tensors
from gls_lightning.bounds.operations.registry import Call, implements
from gls_lightning.bounds.rational import Rationals
from gls_lightning.bounds.rounding import per_sample
from gls_lightning.bounds.rows import Rows
from gls_lightning.bounds.zonotope import Errors


class Reshape(AffineOperation):
    """The same elements in another shape."""

    @override
    def evaluate(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return inputs[0].reshape(-1, *self.output_shape)

    @override
    def exactly(self, tensors: Tensors, *inputs: Rationals) -> Rationals:
        return inputs[0].map(lambda values: values.reshape(self.output_shape))

    @override
    def interval(self, tensors: Tensors, *inputs: Box) -> Box:
        return inputs[0].rearranged(lambda elements: self.evaluate(tensors, elements))

    @override
    def magnitude(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return per_sample(inputs[0], len(self.output_shape))

    @override
    def rounding(self, tensors: Tensors, inputs: Sequence[Box], output: Box) -> Tensor | None:
        return None

    @override
    def errors(self, tensors: Tensors, *inputs: Errors) -> Errors:
        positions = self.output_shape[1:] if len(self.output_shape) == 3 else (1, 1)
        everything = inputs[0].windows.everything(positions)
        values = inputs[0].with_slots_for(everything)
        return Errors(values.reshape(*values.shape[:2], *self.output_shape), everything)

    @override
    def backward(self, tensors: Tensors, rows: Rows) -> tuple[Rows, ...]:
        return (rows.to_dense().reshape(self.input_shapes[0]),)


@implements(nn.Flatten, nn.Unflatten, torch.flatten, "flatten", "view", "reshape")
def _build(call: Call) -> Operation:
    return call.make(Reshape)
