"""Transposed convolution of many small maps."""

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from gls_lightning.bounds._tensor_float import FULL_PRECISION, TensorFloat32
from gls_lightning.bounds._windows import Pair
from gls_lightning.bounds.rows.convolution_matrix import LARGEST_MATRIX, Geometry, transposed_by_matrix
from gls_lightning.private_names import of_torch


def transposed_convolution(
    maps: Tensor, kernel: Tensor, stride: Pair, padding: Pair, dilation: Pair, size: Pair, groups: int
) -> Tensor:
    """Applies the transpose of a convolution, in the form that is fastest (:func:`form_of`).

    Args:
        maps: Maps of the convolution's output, ``[N, C_out, h, w]``; fastest with the channels last in memory.
        kernel: Kernel of the convolution, ``[C_out, C_in / groups, kh, kw]``.
        stride: Stride of the convolution.
        padding: Padding of the convolution.
        dilation: Dilation of the convolution.
        size: Height and width of the convolution's input.
        groups: Groups of the convolution.

    Returns:
        Maps of the convolution's input, ``[N, C_in, *size]``.
    """
    geometry = Geometry.of(kernel, (maps.shape[2], maps.shape[3]), stride, padding, dilation, size, groups)
    form = form_on_device(kernel, geometry)
    if form == "matrix":
        return transposed_by_matrix(maps, kernel, geometry)
    if form == "by place":
        return transposed_by_place(maps, kernel, geometry)
    return transposed_by_library(maps, kernel, geometry)


Form = Literal["by place", "matrix", "library"]
"""One convolution with a channel for each place in a block; a product with a matrix; PyTorch's own function."""


def form_of(device: str, dtype: torch.dtype, tf32: TensorFloat32, geometry: Geometry, *, batched: bool) -> Form:
    """Chooses the form of a transposed convolution: a fixed rule of device, sizes and precision.

    PyTorch's own is several times slower on a CPU; on CUDA two to a hundred times slower without TensorFloat-32, and
    slower than the other two with it, as measured on an H200 for the maps of CNN5.

    Args:
        device: Type of the device.
        dtype: Type of the numbers.
        tf32: Where TensorFloat-32 is allowed.
        geometry: Sizes of the convolution.
        batched: Whether ``torch.func.vmap`` runs over the kernel.
    """
    if device != "cuda":
        return "by place" if device == "cpu" and geometry.dilation == (1, 1) else "library"
    if dtype not in (torch.float32, torch.float64):
        return "library"
    is_single = dtype == torch.float32
    if geometry.by_matrix(batched=batched, tf32=is_single and tf32.products):
        return "matrix"
    if geometry.dilation == (1, 1):
        return "by place"
    if is_single and tf32.convolutions and not batched:
        return "library"
    return "matrix" if geometry.matrix_size <= LARGEST_MATRIX else "by place"


def form_on_device(kernel: Tensor, geometry: Geometry) -> Form:
    """Chooses the form by :func:`form_of` for a kernel and the present settings of PyTorch."""
    device = kernel.device.type
    if device != "cuda" or torch.compiler.is_compiling():  # the settings cannot be compiled
        return form_of("cpu" if device == "cuda" else device, kernel.dtype, FULL_PRECISION, geometry, batched=False)
    batched = of_torch.is_batched(kernel)
    return form_of(device, kernel.dtype, TensorFloat32.current(), geometry, batched=batched)


def is_joined(values: Tensor, kernel: Tensor, geometry: Geometry) -> bool:
    """Says whether rows are relaxed and multiplied by a convolution's matrix in one step, as :func:`joins` rules.

    Args:
        values: Coefficients of the rows, ``[B|1, P|1, S, K]``.
        kernel: Kernel of the convolution.
        geometry: Its sizes.
    """
    if values.device.type != "cuda" or torch.compiler.is_compiling():
        return False
    batched = of_torch.is_batched(kernel)
    return joins(values.dtype, TensorFloat32.current(), geometry, rows=values.shape[2], batched=batched)


def joins(dtype: torch.dtype, tf32: TensorFloat32, geometry: Geometry, *, rows: int, batched: bool) -> bool:
    """Says whether one kernel is faster on CUDA than two steps: a fixed rule of sizes and precision.

    Args:
        dtype: Type of the coefficients.
        tf32: Where TensorFloat-32 is allowed; without it, a library multiplies faster.
        geometry: Sizes of the convolution.
        rows: Rows of one sample and position.
        batched: Whether ``torch.func.vmap`` runs over the kernel.
    """
    if dtype != torch.float32 or not tf32.products or rows < _FEWEST_JOINED:
        return False
    return geometry.by_matrix(batched=batched, tf32=True)


_FEWEST_JOINED = 32
"""Rows of a place below which most of a kernel's block would be empty."""


def transposed_by_library(maps: Tensor, kernel: Tensor, geometry: Geometry) -> Tensor:
    """Applies PyTorch's own transposed convolution; see :func:`transposed_convolution`."""
    _, length, _, stride, padding, dilation, size, groups = geometry
    lengths = zip(length, kernel.shape[2:], stride, padding, dilation, size, strict=True)
    unread = [n + 2 * p - (m - 1) * s - d * (k - 1) - 1 for m, k, s, p, d, n in lengths]
    return F.conv_transpose2d(maps, kernel, None, stride, padding, unread, groups, dilation)


def transposed_by_place(maps: Tensor, kernel: Tensor, geometry: Geometry) -> Tensor:
    """Applies one convolution with a channel for each place in a block of the size of the stride.

    Backwards it is two plain convolutions. A dilated kernel is filled up with zeros.
    """
    _, _, _, stride, padding, dilation, size, groups = geometry
    kernel = kernel if dilation == (1, 1) else _filled(kernel, dilation)
    return _TransposedConvolution.apply(maps, kernel, stride, padding, size, groups)  # type: ignore[no-any-return]


def _filled(kernel: Tensor, dilation: Pair) -> Tensor:
    """Puts zeros between the elements of a kernel, so that it needs no dilation."""
    (kh, kw), (dh, dw) = kernel.shape[2:], dilation
    spread = F.pad(kernel[..., None, :, None], (0, dw - 1, 0, 0, 0, dh - 1))
    return spread.flatten(4).flatten(2, 3)[..., : (kh - 1) * dh + 1, : (kw - 1) * dw + 1]


class _TransposedConvolution(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, kernel: Tensor, stride: Pair, padding: Pair, size: Pair, groups: int) -> Tensor:
        lengths = zip(maps.shape[2:], kernel.shape[2:], stride, padding, size, strict=True)
        before, taps, outer, surplus, _ = zip(*(_blocks(*length) for length in lengths), strict=True)
        by_place = F.conv2d(
            _channels_last(maps), _by_place(kernel, stride, before, taps, groups), padding=outer, groups=groups
        )
        # N, h, w, groups, sh, sw, C_in/g -> N, h, sh, w, sw, groups, C_in/g
        blocks = by_place.permute(0, 2, 3, 1).unflatten(-1, (groups, *stride, -1))
        whole = blocks.permute(0, 1, 4, 2, 5, 3, 6).flatten(5).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
        beyond = [n + start - found for n, start, found in zip(size, surplus, whole.shape[2:], strict=True)]
        pad = (-surplus[1], beyond[1], -surplus[0], beyond[0])
        return F.pad(whole, pad) if any(pad) else whole

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        maps, kernel, *ctx.geometry = inputs
        ctx.save_for_backward(maps, kernel)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        maps, kernel = ctx.saved_tensors
        stride, padding, _, groups = ctx.geometry
        grad, kernel = _channels_last(grad), _channels_last(kernel)
        grad_maps = F.conv2d(grad, kernel, None, stride, padding, 1, groups)
        grad_kernel = None
        if ctx.needs_input_grad[1]:
            grad_kernel = conv2d_weight(grad, kernel.shape, maps, stride, padding, 1, groups)
        return grad_maps, grad_kernel, None, None, None, None


def _channels_last(maps: Tensor) -> Tensor:
    """Returns the same maps with the channels last in memory, with strides that say so even for one channel."""
    elements = maps.movedim(1, -1)
    fresh: Tensor = elements.flatten(1).unflatten(1, elements.shape[1:])
    return fresh.movedim(-1, 1)


class _Blocks(NamedTuple):
    """A division of one axis of the convolution's input into blocks of ``stride`` elements.

    Attributes:
        before: Zeros to put before the kernel.
        taps: Blocks that the kernel then reaches.
        outer: Padding of the convolution that gives the blocks.
        surplus: Elements that it gives before the input's first one; negative if it starts later.
        number: Blocks that it gives.
    """

    before: int
    taps: int
    outer: int
    surplus: int
    number: int


def _blocks(length: int, kernel: int, stride: int, padding: int, size: int) -> _Blocks:
    """Cuts an axis into blocks with the fewest products; to cut off surplus elements takes as long again."""

    def starting(before: int) -> _Blocks:
        taps = -(-(kernel + before) // stride)
        first, last = (padding + before) // stride, (padding + before + size - 1) // stride
        outer = min(max(taps - 1 - first, last - length + 1, 0), taps - 1)
        surplus = padding + before - (taps - 1 - outer) * stride
        return _Blocks(before, taps, outer, surplus, length + 2 * outer - taps + 1)

    def cost(blocks: _Blocks) -> int:
        exact = blocks.surplus == 0 and blocks.number * stride == size
        return blocks.taps * blocks.number * (1 if exact else 2)

    return min(map(starting, range(stride)), key=cost)


def _by_place(kernel: Tensor, stride: Pair, before: Pair, taps: Pair, groups: int) -> Tensor:
    """Gives the kernel a channel for each place in a block: ``[groups * sh * sw * C_in/g, C_out / groups, *taps]``."""
    after = [t * s - b - k for t, s, b, k in zip(taps, stride, before, kernel.shape[2:], strict=True)]
    full = F.pad(kernel, (before[1], after[1], before[0], after[0]))
    split = full.unflatten(3, (taps[1], stride[1])).unflatten(2, (taps[0], stride[0])).unflatten(0, (groups, -1))
    # groups, C_out/g, C_in/g, th, sh, tw, sw -> groups, sh, sw, C_in/g, C_out/g, th, tw
    by_place: Tensor = split.permute(0, 4, 6, 2, 1, 3, 5)
    return by_place.flatten(0, 3).flip(2, 3)
