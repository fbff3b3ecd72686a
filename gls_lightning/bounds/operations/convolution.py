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
from gls_lightning.bounds.kernels import WHOLE, relaxed_product
from gls_lightning.bounds.lines import Band
from gls_lightning.bounds.operations._exact_convolution import convolve_exactly
from gls_lightning.bounds.operations.linear import magnitude
from gls_lightning.bounds.operations.operation import AffineOperation, Operation, Tensors
from gls_lightning.bounds.operations.registry import Call, implements
from gls_lightning.bounds.rational import Rationals
from gls_lightning.bounds.rows import (
    DenseRows,
    FactoredRows,
    Functions,
    Geometry,
    PatchRows,
    Rows,
    convolution_matrices,
    convolved_by_matrix,
    form_on_device,
    is_joined,
    transposed_convolution,
    unrolled_convolution,
)
from gls_lightning.bounds.zonotope import Errors
from gls_lightning.private_names import of_torch


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
        return self._convolve_maps(inputs[0], self.kernel(tensors, inputs[0]), self._bias(tensors))

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
        centre = self._convolve_maps(centre, kernel, self._bias(tensors))
        return Box.from_centre(centre, self._convolve_maps(radius, kernel.abs(), None))

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

    def backward_relaxed(self, tensors: Tensors, rows: Rows, band: Band) -> tuple[tuple[Rows, ...], Tensor] | None:
        """Goes back through an activation of the output and the convolution at once, where that is faster: on CUDA.

        Args:
            tensors: Parameters and buffers.
            rows: Rows of the activation's output.
            band: The activation's lines around the reference.

        Returns:
            Rows of the input, and constants ``[B, P, S]``; None where it is not faster.
        """
        if not isinstance(rows, DenseRows | PatchRows) or rows.functions.mirrored or self.groups > 1:
            return None
        kernel = self.kernel(tensors, rows.values)
        geometry = self._geometry_of(rows, kernel)
        if not is_joined(rows.values, kernel, geometry):
            return None
        lines = rows.read(band.slope), rows.read(band.narrowing), rows.read(band.gap)
        if isinstance(rows, DenseRows):
            matrices, matrix_band = convolution_matrices(kernel, geometry), geometry.band
        else:
            matrices, matrix_band = self._unrolled(kernel, geometry), WHOLE
        values, constant = relaxed_product(rows.values, *lines, matrices[0], matrix_band)
        if isinstance(rows, DenseRows):
            return (DenseRows(values, self.input_shapes[0], rows.functions),), constant
        return (self._of_patches(values, rows.windows, rows.functions),), constant

    def _geometry_of(self, rows: DenseRows | PatchRows, kernel: Tensor) -> Geometry:
        """Returns the convolution's sizes as these rows see it: those of its maps, or of windows of them."""
        if isinstance(rows, PatchRows):
            return self._geometry(kernel, rows.windows.kernel, (0, 0), self._windows_of_input(rows.windows).kernel)
        return self._geometry_of_maps(kernel)

    def _geometry_of_maps(self, kernel: Tensor) -> Geometry:
        return self._geometry(kernel, pair(self.output_shape[1:]), self.padding, pair(self.input_shapes[0][1:]))

    def _geometry(self, kernel: Tensor, length: Pair, padding: Pair, size: Pair) -> Geometry:
        return Geometry.of(kernel, length, self.stride, padding, self.dilation, size, self.groups)

    def _backward_patches(self, rows: Rows, windows: Windows, kernel: Tensor) -> Rows:
        if isinstance(rows, PatchRows):
            rows = rows.cleaned()
        of_input = self._windows_of_input(windows)
        geometry = self._geometry(kernel, windows.kernel, (0, 0), of_input.kernel)
        few = area(of_input.kernel) <= _LARGEST_UNROLLED * area(self.kernel_size)
        if few or form_on_device(kernel, geometry) == "matrix":
            values = self._product(rows, self._unrolled(kernel, geometry))
        else:
            values = self._spread(rows.values, kernel, windows.kernel, of_input.kernel)
        return self._of_patches(values, windows, rows.functions)

    def _of_patches(self, values: Tensor, windows: Windows, functions: Functions) -> Rows:
        of_input = self._windows_of_input(windows)
        patches = PatchRows(values, of_input, of_input.inside, functions)
        return patches.to_dense() if area(of_input.kernel) > area(of_input.shape[1:]) else patches

    def _unrolled(self, kernel: Tensor, of_windows: Geometry) -> Tensor:
        return unrolled_convolution(kernel, self.stride, self.dilation, of_windows.length, of_windows.size, self.groups)

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

    def _convolve_maps(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """Applies the convolution to ``[N, C, H, W]``, as a matrix product where it would be a slow grouped one."""
        if x.device.type != "cuda" or not (of_torch.is_batched(x) and of_torch.is_batched(kernel)):
            return self._convolve(x, kernel, bias)
        geometry = self._geometry_of_maps(kernel)
        if not geometry.by_matrix(batched=True, tf32=False):
            return self._convolve(x, kernel, bias)
        sums = convolved_by_matrix(x, kernel, geometry)
        return sums if bias is None else sums + bias[:, None, None]

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
