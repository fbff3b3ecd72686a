"""The sum of two branches of a residual network."""

from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.operations.operation import AffineOperation, Tensors
from gls_lightning.bounds.rational import Rationals
from gls_lightning.bounds.rounding import per_sample
from gls_lightning.bounds.rows import Rows
from gls_lightning.bounds.zonotope import Errors


class Addition(AffineOperation):
    """``v + w`` of two values of one shape."""

    @override
    def evaluate(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return inputs[0] + inputs[1]

    @override
    def exactly(self, tensors: Tensors, *inputs: Rationals) -> Rationals:
        return inputs[0] + inputs[1]

    @override
    def interval(self, tensors: Tensors, *inputs: Box) -> Box:
        return Box(inputs[0].lower + inputs[1].lower, inputs[0].upper + inputs[1].upper)

    @override
    def magnitude(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return per_sample(inputs[0] + inputs[1], len(self.output_shape))

    @override
    def errors(self, tensors: Tensors, *inputs: Errors) -> Errors:
        return inputs[0] + inputs[1]

    @override
    def backward(self, tensors: Tensors, rows: Rows) -> tuple[Rows, ...]:
        return rows, rows
