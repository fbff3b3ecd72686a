"""Arithmetic with constants, of which normalisation consists."""

import operator
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds.operations.elementwise import ElementwiseAffine
from gls_lightning.bounds.operations.fixed_tensor import FixedTensor
from gls_lightning.bounds.operations.operation import Tensors
from gls_lightning.bounds.rational import NotRationalError, Rationals


@dataclass(frozen=True, kw_only=True)
class ConstantAffine(ElementwiseAffine):
    """One step of a normalisation: sum, difference, product or quotient with a constant.

    Attributes:
        operator: ``"add"``, ``"sub"``, ``"rsub"`` (constant minus input), ``"mul"`` or ``"div"``.
        constant: A number, the name of a tensor, or a tensor without one.
        shape: Shape in which the tensor meets the input, batch included.
    """

    operator: str
    constant: float | str | FixedTensor
    shape: torch.Size

    @override
    def scale_and_shift(self, tensors: Tensors) -> tuple[Tensor | None, Tensor | None]:
        value = self._value(tensors)
        match self.operator:
            case "add":
                return None, value
            case "sub":
                return None, -value
            case "rsub":
                return value.new_full(value.shape, -1), value
            case "mul":
                return value, None
            case _:
                return 1 / value, None

    @override
    def exactly(self, tensors: Tensors, *inputs: Rationals) -> Rationals:
        value = Rationals.of(self._value(tensors)[0])
        match self.operator:
            case "add":
                return inputs[0] + value
            case "sub":
                return inputs[0] + value.map(operator.neg)
            case "rsub":
                return inputs[0].map(operator.neg) + value
            case "mul":
                return inputs[0] * value
            case _:
                if not value.numerators.all():
                    raise NotRationalError
                return inputs[0] * Rationals.of_fractions([1 / v for v in value.fractions()], value.numerators.shape)

    def _value(self, tensors: Tensors) -> Tensor:
        value = self._constant(tensors)
        return value.reshape((1,) * (1 + len(self.output_shape) - len(self.shape)) + self.shape)

    def _constant(self, tensors: Tensors) -> Tensor:
        floating = next((t for t in tensors.values() if t.is_floating_point()), _WITHOUT_PARAMETERS)
        match self.constant:
            case str(name):
                return tensors[name]
            case FixedTensor(name=str(name)) if name in tensors:
                return tensors[name]
            case FixedTensor() as fixed:
                return fixed.like(floating)
            case number:
                return floating.new_full((), number)


_WITHOUT_PARAMETERS = torch.zeros(())
"""The type and device of constants in a network that has no floating-point tensor."""
