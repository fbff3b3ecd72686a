"""Sums, differences, products and quotients, as Python and torch write them."""

import operator
from collections.abc import Callable
from typing import Any

import torch

from gls_lightning.bounds.operations.addition import Addition
from gls_lightning.bounds.operations.constant_affine import ConstantAffine
from gls_lightning.bounds.operations.operation import Operation
from gls_lightning.bounds.operations.registry import TRACED, Call, Constant, implements


def _arithmetic(name: str) -> Callable[[Call], Operation]:
    def build(call: Call) -> Operation:
        if call.options or len(call.operands) != 2:
            call.refuse("only with two operands")
        if len(call.input_shapes) == 2:
            if name != "add" or call.input_shapes[0] != call.input_shapes[1]:
                call.refuse("of two values that depend on the input, only the sum of equal shapes")
            return call.make(Addition)
        first_is_constant = call.operands[1] is TRACED
        constant = call.operands[0 if first_is_constant else 1]
        if first_is_constant and name == "div":
            call.refuse("division by a value that depends on the input")
        operator_name = "rsub" if first_is_constant and name == "sub" else name
        return _constant_affine(call, operator_name, constant)

    return build


def _constant_affine(call: Call, operator_name: str, constant: Any) -> Operation:
    if call.output_shape != call.input_shapes[0]:
        call.refuse("the constant changes the shape")
    if isinstance(constant, Constant):
        if len(constant.shape) > len(call.output_shape) and constant.shape[0] != 1:
            call.refuse("the constant is not the same for all samples of a batch")
        return call.make(ConstantAffine, operator=operator_name, constant=constant.source, shape=constant.shape)
    if not isinstance(constant, int | float):
        call.refuse("the constant must be a number or a tensor that is not computed from parameters or buffers")
    return call.make(ConstantAffine, operator=operator_name, constant=float(constant), shape=torch.Size())


implements(operator.add, operator.iadd, torch.add, "add")(_arithmetic("add"))
implements(operator.sub, torch.sub, "sub")(_arithmetic("sub"))
implements(operator.mul, torch.mul, "mul")(_arithmetic("mul"))
implements(operator.truediv, torch.div, "div")(_arithmetic("div"))
