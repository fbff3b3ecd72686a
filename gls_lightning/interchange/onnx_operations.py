"""Converters from ONNX operations to operations of a graph."""

from fractions import Fraction
from typing import Any

import numpy as np
import torch

from gls_lightning.bounds.operations import (
    Addition,
    AveragePooling,
    BatchNorm,
    ConstantAffine,
    Convolution,
    Linear,
    ReLU,
    Reshape,
)
from gls_lightning.interchange.onnx_call import Array, OnnxCall, converts


@converts("Identity", "Dropout")
def _identity(call: OnnxCall) -> str:
    return call.source()


@converts("Relu")
def _relu(call: OnnxCall) -> str:
    return call.append(ReLU, call.source())


@converts("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def _reshape(call: OnnxCall) -> str:
    return call.append(Reshape, call.source())


@converts("Transpose")
def _transpose(call: OnnxCall) -> str:
    shape = 1, *call.shape(call.source())
    axes = [axis for axis in call.attribute("perm", range(len(shape))[::-1]) if shape[axis] > 1]
    if axes != sorted(axes):
        call.refuse("it changes the order of the elements")
    return call.append(Reshape, call.source())


@converts("Add", "Sub", "Mul", "Div")
def _arithmetic(call: OnnxCall) -> str:
    operator = call.node.op_type.lower()
    if call.is_source(0) and call.is_source(1):
        return _sum_of_sources(call)
    position = 0 if call.is_source(0) else 1
    constant, source = call.constant(1 - position), call.source(position)
    if call.shape(source) != call.output_shape:
        call.refuse("the constant changes the shape")
    if position == 1 and operator == "div":
        call.refuse("division by a value that depends on the network's input")
    operator = "rsub" if position == 1 and operator == "sub" else operator
    return _with_constant(call, source, operator, constant)


def _sum_of_sources(call: OnnxCall) -> str:
    first, second = call.source(0), call.source(1)
    if call.node.op_type not in ("Add", "Sub") or call.shape(first) != call.shape(second):
        call.refuse("of two values that depend on the network's input, only sum and difference of equal shapes")
    if call.node.op_type == "Sub":
        second = _with_constant(call, second, "mul", np.array(-1.0))
    return call.append(Addition, first, second)


@converts("Neg")
def _negative(call: OnnxCall) -> str:
    return _with_constant(call, call.source(), "mul", np.array(-1.0))


def _with_constant(call: OnnxCall, source: str, operator: str, constant: Array | None) -> str:
    assert constant is not None
    name, shape = call.tensor(constant), torch.Size(constant.shape)
    return call.append(ConstantAffine, source, operator=operator, constant=name, shape=shape)


@converts("Gemm")
def _gemm(call: OnnxCall) -> str:
    weight, bias = call.constant(1), call.constant(2)
    assert weight is not None
    if call.attribute("transA", 0):
        call.refuse("transA is set")
    weight = _scaled(call, "alpha", weight if call.attribute("transB", 0) else weight.T)
    if bias is not None:
        bias = np.broadcast_to(_scaled(call, "beta", bias), (1, len(weight)))[0]
    return _linear(call, call.source(), weight, bias)


def _scaled(call: OnnxCall, name: str, values: Array) -> Array:
    """Multiplies values by a factor of the node, in float64, where products of float32 are exact."""
    factor, wide = float(call.attribute(name, 1.0)), values.astype(np.float64)
    products: Array = factor * wide
    if values.dtype == np.float64 and factor not in (0, 1):
        exact = [Fraction(factor) * Fraction(value) for value in wide.ravel().tolist()]
        if exact != [Fraction(product) for product in products.ravel().tolist()]:
            call.refuse(f"{name} is {factor:g}, and its products with constants in float64 are rounded")
    return products


@converts("MatMul")
def _matrix_product(call: OnnxCall) -> str:
    position = 0 if call.is_source(0) else 1
    matrix = call.constant(1 - position)
    assert matrix is not None
    if matrix.ndim != 2:
        call.refuse(f"the constant has the shape {list(matrix.shape)}, and is no matrix")
    return _linear(call, call.source(position), matrix if position == 1 else matrix.T, None)


def _linear(call: OnnxCall, source: str, weight: Array, bias: Array | None) -> str:
    """Adds the product of ``weight [M, K]`` and a source of K elements in any shape."""
    rows, columns = weight.shape
    if (call.shape(source).numel(), call.output_shape.numel()) != (columns, rows):
        call.refuse(f"its input has the shape {[1, *call.shape(source)]}, and is not one vector")
    if call.shape(source) != (columns,):
        source = call.append(Reshape, source, output_shape=torch.Size([columns]))
    names = call.tensor(weight), call.tensor(bias)
    product = call.append(Linear, source, output_shape=torch.Size([rows]), weight=names[0], bias=names[1])
    return product if call.output_shape == (rows,) else call.append(Reshape, product)


@converts("Conv")
def _convolution(call: OnnxCall) -> str:
    kernel, bias = call.constant(1), call.constant(2)
    assert kernel is not None
    return call.append(
        Convolution,
        call.source(),
        weight=call.tensor(kernel),
        bias=call.tensor(bias),
        groups=call.attribute("group", 1),
        dilation=tuple(call.attribute("dilations", (1, 1))),
        **_windows(call, kernel.shape[2:]),
    )


def _windows(call: OnnxCall, kernel: tuple[int, ...]) -> dict[str, Any]:
    """Reads size, stride and padding of two-dimensional windows."""
    if len(kernel) != 2 or len(call.output_shape) != 3:
        call.refuse("its input must have the shape [batch, channels, height, width]")
    top, left, bottom, right = call.attribute("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right) or call.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        call.refuse("the padding must be given by pads, the same on both sides")
    stride = call.attribute("strides", (1, 1))
    return {"kernel_size": (kernel[0], kernel[1]), "stride": (stride[0], stride[1]), "padding": (top, left)}


@converts("BatchNormalization")
def _batch_norm(call: OnnxCall) -> str:
    if call.attribute("training_mode", 0):
        call.refuse("training_mode is set")
    weight, bias, mean, variance = (call.tensor(call.constant(position)) for position in (1, 2, 3, 4))
    tensors: dict[str, Any] = {"weight": weight, "bias": bias, "mean": mean, "variance": variance}
    return call.append(BatchNorm, call.source(), eps=call.attribute("epsilon", 1e-5), **tensors)


@converts("AveragePool")
def _average_pooling(call: OnnxCall) -> str:
    windows = _windows(call, tuple(call.attribute("kernel_shape", ())))
    counted = call.attribute("count_include_pad", 0) or windows["padding"] == (0, 0)
    if call.attribute("ceil_mode", 0) or not counted or set(call.attribute("dilations", (1,))) != {1}:
        call.refuse("ceil_mode, dilations and count_include_pad=0 with padding are not supported")
    return _pooling(call, call.output_shape, windows)


@converts("GlobalAveragePool", "ReduceMean")
def _global_average(call: OnnxCall) -> str:
    channels, *size = call.shape(call.source())
    axes = call.constant(1)
    axes = call.attribute("axes", (2, 3)) if axes is None else axes
    if len(size) != 2 or {axis % 4 for axis in axes} != {2, 3}:
        call.refuse("only over height and width of [batch, channels, height, width]")
    windows = {"kernel_size": (size[0], size[1]), "stride": (1, 1), "padding": (0, 0)}
    return call.append(Reshape, _pooling(call, torch.Size([channels, 1, 1]), windows))


def _pooling(call: OnnxCall, shape: torch.Size, windows: dict[str, Any]) -> str:
    groups = call.shape(call.source())[0]
    return call.append(AveragePooling, call.source(), output_shape=shape, groups=groups, dilation=(1, 1), **windows)
