"""Convolution."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.bounds._slots import Blocks
from gls_lightning.bounds._windows import Pair, Windows, area, pair
from gls_lightning.bounds.box import Box
from gls_lightning.bounds.operations._exact_convolution import convolve_exactly
from gls_lightning.bounds.operations.linear import magnitude
from gls_lightning.bounds.operations.operation import AffineOperation, Operation, Tensors
from gls_lightning.bounds.operations.registry import Call, implements
from gls_lightning.bounds.rational import Rationals
from gls_lightning.bounds.rows import (
    DenseRows,
    FactoredRows,
    PatchRows,
    Rows,
    transposed_convolution,
    unrolled_convolution,
)
from gls_lightning.bounds.zonotope import Errors


@dataclass(frozen=True, kw_only=True)
class Convolution(AffineOperation):
    """A 2-D convolution with zero padding.

    Attributes:
        weight: Name of the kernel ``[C_out, C_in / groups, kh, kw]``.
        bias: Name of the bias ``[C_out]``, if any.
        kernel_size: Height and width of the kernel.
        stride: Vertical and horizontal stride.
        padding: Zero padding on each side, vertical and horizontal.
        dilation: Spacing of the kernel's elements.
        groups: Number of groups of channels that do not mix.
    """

    weight: str
    bias: str | None
    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def kernel(self, tensors: Tensors, like: Tensor) -> Tensor:
        """Returns the kernel, ``[C_out, C_in / groups, kh, kw]``."""
        return tensors[self.weight]

    @override
    def evaluate(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return self._convolve(inputs[0], self.kernel(tensors, inputs[0]), self._bias(tensors))

    @override
    def exactly(self, tensors: Tensors, *inputs: Rationals) -> Rationals:
        return self._convolve_exactly(inputs[0], Rationals.of(tensors[self.weight]), self._bias(tensors))

    def _convolve_exactly(self, x: Rationals, kernel: Rationals, bias: Tensor | None) -> Rationals:
        size = pair(self.output_shape[1:])
        sums = convolve_exactly(x, kernel, self.stride, self.padding, self.dilation, size, self.groups)
        return sums if bias is None else sums + Rationals.of(bias[:, None, None])

    @override
    def interval(self, tensors: Tensors, *inputs: Box) -> Box:
        kernel = self.kernel(tensors, inputs[0].lower)
        centre, radius = inputs[0].middle
        centre = self._convolve(centre, kernel, self._bias(tensors))
        return Box.from_centre(centre, self._convolve(radius, kernel.abs(), None))

    @override
    def magnitude(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return magnitude(self.kernel(tensors, inputs[0]), self._bias(tensors), inputs[0])[:, :, None, None]

    @override
    def errors(self, tensors: Tensors, *inputs: Errors) -> Errors:
        windows = self._windows_of_output(inputs[0].windows)
        if self.groups > 1 or self.dilation != (1, 1) or self.stride == (1, 1):
            values = inputs[0].with_slots_for(windows)
            maps = self._convolve(values.flatten(0, 1), self.kernel(tensors, values), None)
        else:
            values, kernel = self._in_blocks(inputs[0], windows, self.kernel(tensors, inputs[0].values))
            maps = F.conv2d(values.flatten(0, 1), kernel)
        return Errors(maps.unflatten(0, values.shape[:2]), windows)

    def _in_blocks(self, errors: Errors, windows: Windows, kernel: Tensor) -> tuple[Tensor, Tensor]:
        """Errors and kernel in blocks of the size of the stride: a convolution without stride and padding.

        Several times faster, as gradients of strided convolutions are slow.
        """
        (sh, sw), (kh, kw) = self.stride, self.kernel_size
        height, width = -(-kh // sh), -(-kw // sw)
        count = self.output_shape[1] - 1 + height, self.output_shape[2] - 1 + width
        padded = F.pad(kernel, (0, width * sw - kw, 0, height * sh - kh))
        by_block = padded.reshape(*kernel.shape[:2], height, sh, width, sw).permute(0, 3, 5, 1, 2, 4)
        # A kernel that is a view with its channels last has no gradient in float64: PyTorch refuses it.
        blocks = Blocks(self.stride, self.padding, count)
        return errors.with_slots_for(windows, blocks), by_block.flatten(1, 3).contiguous()

    @override
    def backward(self, tensors: Tensors, rows: Rows) -> tuple[Rows, ...]:
        base = rows.base if isinstance(rows, FactoredRows) else rows
        kernel = self.kernel(tensors, base.values)
        if isinstance(base, PatchRows):
            return (self._backward_patches(rows, base.windows, kernel),)
        return (self._backward_dense(rows.to_dense(), kernel),)

    def _backward_dense(self, rows: DenseRows, kernel: Tensor) -> DenseRows:
        elements = rows.elements
        maps = self._transpose(elements.flatten(0, 2), kernel, self.padding, self.input_shapes[0][1:])
        return DenseRows.of(maps.unflatten(0, elements.shape[:3]), rows.functions)

    def _backward_patches(self, rows: Rows, windows: Windows, kernel: Tensor) -> Rows:
        if isinstance(rows, PatchRows):
            rows = rows.cleaned()
        of_input = self._windows_of_input(windows)
        if area(of_input.kernel) <= _LARGEST_UNROLLED * area(self.kernel_size):
            geometry = self.stride, self.dilation, windows.kernel, of_input.kernel, self.groups
            values = self._product(rows, unrolled_convolution(kernel, *geometry))
        else:
            values = self._spread(rows.values, kernel, windows.kernel, of_input.kernel)
        patches = PatchRows(values, of_input, of_input.inside, rows.functions)
        return patches.to_dense() if area(of_input.kernel) > area(of_input.shape[1:]) else patches

    def _product(self, rows: Rows, unrolled: Tensor) -> Tensor:
        if self.groups > 1:
            by_group = rows.values.unflatten(-1, (self.groups, -1))
            return torch.einsum("bpsgk,gkl->bpsgl", by_group, unrolled).flatten(-2)
        if isinstance(rows, FactoredRows) and rows.can_join(unrolled[0]):
            return rows.product(unrolled[0])
        return rows.values @ unrolled[0]

    def _spread(self, values: Tensor, kernel: Tensor, window: Pair, input_window: Pair) -> Tensor:
        maps = values.reshape(-1, self.output_shape[0], *window)
        return self._transpose(maps, kernel, (0, 0), input_window).reshape(*values.shape[:-1], -1)

    def _windows_of_input(self, windows: Windows) -> Windows:
        """Returns the windows of the input that given windows of the output depend on."""
        channels, height, width = self.input_shapes[0]
        (sh, sw), (ph, pw), (rh, rw) = self.stride, self.padding, self._reach
        return replace(
            windows,
            shape=(channels, height, width),
            kernel=((windows.kernel[0] - 1) * sh + rh, (windows.kernel[1] - 1) * sw + rw),
            stride=(windows.stride[0] * sh, windows.stride[1] * sw),
            offset=(windows.offset[0] * sh - ph, windows.offset[1] * sw - pw),
        )

    def _windows_of_output(self, windows: Windows) -> Windows:
        """Returns the windows of the network's input that the output sees, given those that the input sees."""
        (sh, sw), (ph, pw), (rh, rw) = windows.stride, self.padding, self._reach
        return replace(
            windows,
            kernel=(windows.kernel[0] + (rh - 1) * sh, windows.kernel[1] + (rw - 1) * sw),
            stride=(sh * self.stride[0], sw * self.stride[1]),
            offset=(windows.offset[0] - ph * sh, windows.offset[1] - pw * sw),
            positions=(self.output_shape[1], self.output_shape[2]),
        )

    @property
    def _reach(self) -> Pair:
        """Extent of the kernel on the input, dilation included."""
        (kh, kw), (dh, dw) = self.kernel_size, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    def _convolve(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, kernel, bias, self.stride, self.padding, self.dilation, self.groups)

    def _transpose(self, maps: Tensor, kernel: Tensor, padding: Pair, size: Sequence[int]) -> Tensor:
        return transposed_convolution(maps, kernel, self.stride, padding, self.dilation, pair(size), self.groups)

    def _bias(self, tensors: Tensors) -> Tensor | None:
        return None if self.bias is None else tensors[self.bias]


_LARGEST_UNROLLED = 5
"""Windows of the input beyond this many kernels are cheaper by transposed convolution (measured: benchmarks/)."""


@implements(nn.Conv2d)
def _build(call: Call) -> Operation:
    conv = call.module
    assert isinstance(conv, nn.Conv2d)
    if conv.padding_mode != "zeros":
        call.refuse(f"padding_mode is {conv.padding_mode!r}, not 'zeros'")
    return call.make(
        Convolution,
        weight=call.tensor("weight"),
        bias=call.tensor("bias"),
        kernel_size=pair(conv.kernel_size),
        stride=pair(conv.stride),
        padding=_padding(call, conv),
        dilation=pair(conv.dilation),
        groups=conv.groups,
    )


def _padding(call: Call, conv: nn.Conv2d) -> Pair:
    if conv.padding == "valid":
        return 0, 0
    if conv.padding != "same":
        return pair(conv.padding)
    total = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    if total[0] % 2 or total[1] % 2:
        call.refuse("padding='same' of an even kernel is not the same on both sides")
    return total[0] // 2, total[1] // 2
