"""Convolution of a small window as one matrix."""

import torch
from torch import Tensor

from gls_lightning.bounds._constants import constants
from gls_lightning.bounds._windows import Pair, area


def unrolled_convolution(
    kernel: Tensor, stride: Pair, dilation: Pair, window: Pair, input_window: Pair, groups: int
) -> Tensor:
    """Writes the convolution that gives one window as one matrix for each group.

    One product with it is far faster than a transposed convolution of very many very small maps.

    Args:
        kernel: Kernel of the convolution, ``[C_out, C_in / groups, kh, kw]``.
        stride: Stride of the convolution.
        dilation: Dilation of the convolution.
        window: Height and width ``h, w`` of the window of the output.
        input_window: Height and width ``h', w'`` of the window of the input that it depends on.
        groups: Groups of the convolution.

    Returns:
        The matrices, ``[groups, C_out / groups * h * w, C_in / groups * h' * w']``.
    """
    by_row: Tensor = placed(kernel, stride, (0, 0), dilation, window, input_window, groups).transpose(2, 3)
    return by_row.flatten(3).flatten(1, 2)


def placed(
    kernel: Tensor, stride: Pair, padding: Pair, dilation: Pair, window: Pair, input_window: Pair, groups: int
) -> Tensor:
    """Puts the kernel where each element of the output reads: ``[groups, C_out/g, C_in/g, h * w, h' * w']``."""
    kernel_size = kernel.shape[2], kernel.shape[3]
    sizes = kernel_size, stride, dilation, window, input_window, padding
    (placement,) = constants(_placement, kernel, *sizes, as_numbers=True)
    kernels = kernel.reshape(groups, -1, kernel.shape[1], area(kernel_size))
    in_place: Tensor = (kernels @ placement).unflatten(-1, (area(window), area(input_window)))
    return in_place


def _placement(
    kernel: Pair, stride: Pair, dilation: Pair, window: Pair, input_window: Pair, padding: Pair
) -> tuple[Tensor]:
    """Marks with 1 where elements of kernel and input meet: ``[kernel, window * input_window]``."""
    axes = []
    for k, s, d, w, i, p in zip(kernel, stride, dilation, window, input_window, padding, strict=True):
        reached = torch.arange(w)[:, None] * s + torch.arange(k)[:, None, None] * d - p
        axes.append((reached == torch.arange(i)).float())
    return (torch.einsum("awi,bvj->abwvij", *axes).reshape(area(kernel), -1),)
