"""Affine operations that act on each element by itself."""

from abc import abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.operations.operation import AffineOperation, Tensors
from gls_lightning.bounds.rounding import per_sample
from gls_lightning.bounds.rows import Rows
from gls_lightning.bounds.zonotope import Errors


class ElementwiseAffine(AffineOperation):
    """``scale * v + shift``, element by element; its image of a box is exact."""

    @abstractmethod
    def scale_and_shift(self, tensors: Tensors) -> tuple[Tensor | None, Tensor | None]:
        """Returns scale and shift, each ``[1, *shape]`` or broadcasting to it; None stands for 1 and 0."""

    @override
    def evaluate(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift(tensors)
        return _mapped(inputs[0], scale, shift)

    @override
    def interval(self, tensors: Tensors, *inputs: Box) -> Box:
        scale, shift = self.scale_and_shift(tensors)
        centre, radius = inputs[0].middle
        radius = _scaled(radius, None if scale is None else scale.abs())
        return Box.from_centre(_mapped(centre, scale, shift), radius)

    @override
    def magnitude(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift(tensors)
        values = per_sample(inputs[0], len(self.output_shape))
        return _mapped(values, *(None if part is None else part.abs() for part in (scale, shift)))

    @override
    def errors(self, tensors: Tensors, *inputs: Errors) -> Errors:
        scale, _ = self.scale_and_shift(tensors)
        return Errors(_scaled(inputs[0].values, scale), inputs[0].windows)

    @override
    def backward(self, tensors: Tensors, rows: Rows) -> tuple[Rows, ...]:
        scale, _ = self.scale_and_shift(tensors)
        return (rows if scale is None else rows.multiply(scale),)


def _scaled(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else x * scale


def _mapped(x: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    if scale is None or shift is None:
        return _scaled(x, scale) if shift is None else x + shift
    return torch.addcmul(shift, x, scale)
