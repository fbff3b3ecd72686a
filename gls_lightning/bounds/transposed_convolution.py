"""Transposed convolution of many small maps."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gls_lightning.bounds.windows import Pair


def transposed_convolution(
    maps: Tensor, kernel: Tensor, stride: Pair, padding: Pair, dilation: Pair, size: Pair, groups: int
) -> Tensor:
    """The transpose of a convolution.

    PyTorch's own is several times slower on a CPU, forwards: without dilation it is written here as one convolution
    that gives each place of an output element in its stride a channel. Backwards it is two plain convolutions.

    Args:
        maps: Maps of the convolution's output, ``[N, C_out, h, w]``.
        kernel: Kernel of the convolution, ``[C_out, C_in / groups, kh, kw]``.
        stride: Stride of the convolution.
        padding: Padding of the convolution.
        dilation: Dilation of the convolution.
        size: Height and width of the convolution's input.
        groups: Groups of the convolution.

    Returns:
        Maps of the convolution's input, ``[N, C_in, *size]``.
    """
    if maps.device.type == "cpu" and dilation == (1, 1):
        return _TransposedConvolution.apply(maps, kernel, stride, padding, size, groups)  # type: ignore[no-any-return]
    lengths = zip(maps.shape[2:], kernel.shape[2:], stride, padding, dilation, size, strict=True)
    unread = [n + 2 * p - (m - 1) * s - d * (k - 1) - 1 for m, k, s, p, d, n in lengths]
    return F.conv_transpose2d(maps, kernel, None, stride, padding, unread, groups, dilation)


class _TransposedConvolution(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, kernel: Tensor, stride: Pair, padding: Pair, size: Pair, groups: int) -> Tensor:
        taps = [-(-k // s) for k, s in zip(kernel.shape[2:], stride, strict=True)]
        lengths = zip(maps.shape[2:], taps, stride, padding, size, strict=True)
        skipped = [max(0, min(p // s, t - 1, m + t - 2 - (p + n - 1) // s)) for m, t, s, p, n in lengths]
        outer = [t - 1 - skip for t, skip in zip(taps, skipped, strict=True)]
        by_place = F.conv2d(maps, _by_place(kernel, stride, taps, groups), padding=outer, groups=groups)
        whole = F.pixel_shuffle(by_place, stride[0]) if stride[0] == stride[1] else _shuffle(by_place, stride)
        starts = [p - skip * s for p, skip, s in zip(padding, skipped, stride, strict=True)]
        missing = [start + n - w for start, n, w in zip(starts, size, whole.shape[2:], strict=True)]
        return F.pad(whole, (-starts[1], missing[1], -starts[0], missing[0]))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        maps, kernel, *ctx.geometry = inputs
        ctx.save_for_backward(maps, kernel)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        maps, kernel = ctx.saved_tensors
        stride, padding, _, groups = ctx.geometry
        grad_maps = F.conv2d(grad, kernel, None, stride, padding, 1, groups)
        grad_kernel = None
        if ctx.needs_input_grad[1]:
            grad_kernel = torch.nn.grad.conv2d_weight(grad, kernel.shape, maps, stride, padding, 1, groups)
        return grad_maps, grad_kernel, None, None, None, None


def _by_place(kernel: Tensor, stride: Pair, taps: list[int], groups: int) -> Tensor:
    """The kernel ``[C_in * sh * sw, C_out / groups, *taps]`` that gives each place in the stride a channel."""
    short = [t * s - k for t, s, k in zip(taps, stride, kernel.shape[2:], strict=True)]
    full = F.pad(kernel, (0, short[1], 0, short[0]))
    split = full.unflatten(3, (taps[1], stride[1])).unflatten(2, (taps[0], stride[0])).unflatten(0, (groups, -1))
    # groups, C_out/g, C_in/g, th, sh, tw, sw -> groups, C_in/g, sh, sw, C_out/g, th, tw
    return split.permute(0, 2, 4, 6, 1, 3, 5).flatten(0, 3).flip(2, 3)


def _shuffle(by_place: Tensor, stride: Pair) -> Tensor:
    """``F.pixel_shuffle`` for a stride that differs in height and width."""
    split = by_place.unflatten(1, (-1, *stride))
    return split.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)
