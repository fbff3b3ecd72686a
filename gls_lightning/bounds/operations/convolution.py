"""Convolution."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.dense_rows import DenseRows
from gls_lightning.bounds.operations.operation import AffineOperation, Tensors
from gls_lightning.bounds.patch_rows import PatchRows
from gls_lightning.bounds.rows import Rows
from gls_lightning.bounds.windows import Pair, Windows


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
        """The kernel, ``[C_out, C_in / groups, kh, kw]``."""
        return tensors[self.weight]

    @override
    def evaluate(self, tensors: Tensors, *inputs: Tensor) -> Tensor:
        return self._convolve(inputs[0], self.kernel(tensors, inputs[0]), self._bias(tensors))

    @override
    def interval(self, tensors: Tensors, *inputs: Box) -> Box:
        kernel = self.kernel(tensors, inputs[0].lower)
        centre = self._convolve(inputs[0].centre, kernel, self._bias(tensors))
        return Box.from_centre(centre, self._convolve(inputs[0].radius, kernel.abs(), None))

    @override
    def backward(self, tensors: Tensors, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        if isinstance(rows, PatchRows):
            rows = rows.cleaned()
        bias = self._bias(tensors)
        constant = None if bias is None else rows.dot(bias[None, :, None, None])
        kernel = self.kernel(tensors, rows.values)
        if isinstance(rows, PatchRows):
            return (self._backward_patches(rows, kernel),), constant
        return (self._backward_dense(rows.to_dense(), kernel),), constant

    def _backward_dense(self, rows: DenseRows, kernel: Tensor) -> DenseRows:
        *leading, _ = rows.values.shape
        maps = rows.values.reshape(-1, *self.output_shape)
        values = self._transpose(maps, kernel, self.padding, self._unread)
        return DenseRows(values.reshape(*leading, -1), self.input_shapes[0])

    def _backward_patches(self, rows: PatchRows, kernel: Tensor) -> Rows:
        windows = self._windows_of_input(rows.windows)
        by_group = rows.values.unflatten(-1, (self.groups, -1))
        values = torch.einsum("bpsgk,gkl->bpsgl", by_group, self._unrolled(kernel, rows.windows)).flatten(-2)
        patches = PatchRows(values, windows, windows.inside)
        area, map_area = windows.kernel[0] * windows.kernel[1], windows.shape[1] * windows.shape[2]
        return patches.to_dense() if area > map_area else patches

    def _windows_of_input(self, windows: Windows) -> Windows:
        """The windows of the input that given windows of the output depend on."""
        channels, height, width = self.input_shapes[0]
        (sh, sw), (ph, pw), (rh, rw) = self.stride, self.padding, self._reach
        return replace(
            windows,
            shape=(channels, height, width),
            kernel=((windows.kernel[0] - 1) * sh + rh, (windows.kernel[1] - 1) * sw + rw),
            stride=(windows.stride[0] * sh, windows.stride[1] * sw),
            offset=(windows.offset[0] * sh - ph, windows.offset[1] * sw - pw),
        )

    def _unrolled(self, kernel: Tensor, windows: Windows) -> Tensor:
        """The convolution of one window as one matrix a group, ``[groups, C_out/g * kh * kw, C_in/g * kh' * kw']``.

        One product with it is far faster than a transposed convolution of very many very small maps.
        """
        channels = self.output_shape[0] // self.groups
        size = channels * windows.kernel[0] * windows.kernel[1]
        identity = torch.eye(size, dtype=kernel.dtype, device=kernel.device).view(size, channels, *windows.kernel)
        unrolled = self._transpose(identity.repeat(1, self.groups, 1, 1), kernel, (0, 0), (0, 0))
        return unrolled.reshape(size, self.groups, -1).transpose(0, 1)

    @property
    def _reach(self) -> Pair:
        """Extent of the kernel on the input, dilation included."""
        (kh, kw), (dh, dw) = self.kernel_size, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    @property
    def _unread(self) -> Pair:
        """Rows and columns at the end of the padded input that the strided kernel never reads."""
        sizes = zip(
            self.input_shapes[0][1:], self.output_shape[1:], self.stride, self.padding, self._reach, strict=True
        )
        height, width = (i + 2 * p - (o - 1) * s - r for i, o, s, p, r in sizes)
        return height, width

    def _convolve(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, kernel, bias, self.stride, self.padding, self.dilation, self.groups)

    def _transpose(self, maps: Tensor, kernel: Tensor, padding: Pair, output_padding: Pair) -> Tensor:
        return F.conv_transpose2d(maps, kernel, None, self.stride, padding, output_padding, self.groups, self.dilation)

    def _bias(self, tensors: Tensors) -> Tensor | None:
        return None if self.bias is None else tensors[self.bias]
