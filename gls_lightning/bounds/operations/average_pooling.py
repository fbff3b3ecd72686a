"""Average pooling."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.bounds._windows import Pair, pair
from gls_lightning.bounds.operations.convolution import Convolution
from gls_lightning.bounds.operations.operation import Operation, Tensors
from gls_lightning.bounds.operations.registry import Call, implements
from gls_lightning.bounds.rational import Rationals


@dataclass(frozen=True, kw_only=True)
class AveragePooling(Convolution):
    """Means over windows, padding counted: a convolution of each channel with a constant kernel."""

    weight: str = ""
    bias: str | None = None

    @override
    def evaluate(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return F.avg_pool2d(inputs[0], self.kernel_size, self.stride, self.padding)

    @override
    def exactly(self, tensors: Tensors, *inputs: Rationals) -> Rationals:
        shape = self.groups, 1, *self.kernel_size
        mean = Fraction(1, self.kernel_size[0] * self.kernel_size[1])
        return self._convolve_exactly(inputs[0], Rationals.of_fractions([mean] * math.prod(shape), shape), None)

    @override
    def kernel(self, tensors: Tensors, like: Tensor) -> Tensor:
        height, width = self.kernel_size
        return like.new_full((self.groups, 1, height, width), 1 / (height * width))


@implements(nn.AvgPool2d)
def _build(call: Call) -> Operation:
    pool = call.module
    assert isinstance(pool, nn.AvgPool2d)
    if pool.ceil_mode or pool.divisor_override or (pair(pool.padding) != (0, 0) and not pool.count_include_pad):
        call.refuse("ceil_mode, divisor_override and count_include_pad=False are not supported")
    return _pooling(call, pair(pool.kernel_size), pair(pool.stride), pair(pool.padding))


@implements(F.avg_pool2d)
def _build_functional(call: Call) -> Operation:
    return _build(replace(call, module=nn.AvgPool2d(*call.operands[1:], **call.options)))


@implements(nn.AdaptiveAvgPool2d, F.adaptive_avg_pool2d)
def _build_adaptive(call: Call) -> Operation:
    (_, *sizes), (_, *outputs) = call.input_shapes[0], call.output_shape
    if any(size % output for size, output in zip(sizes, outputs, strict=True)):
        call.refuse(f"the output size {tuple(outputs)} does not divide the input size {tuple(sizes)}")
    kernel = sizes[0] // outputs[0], sizes[1] // outputs[1]
    return _pooling(call, kernel, kernel, (0, 0))


def _pooling(call: Call, kernel: Pair, stride: Pair, padding: Pair) -> Operation:
    groups = call.input_shapes[0][0]
    return call.make(AveragePooling, kernel_size=kernel, stride=stride, padding=padding, dilation=(1, 1), groups=groups)
