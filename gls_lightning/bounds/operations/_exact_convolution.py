"""Convolution of rational numbers."""

import numpy as np

from gls_lightning.bounds._windows import Pair
from gls_lightning.bounds.rational import Rationals


def convolve_exactly(
    x: Rationals, kernel: Rationals, stride: Pair, padding: Pair, dilation: Pair, size: Pair, groups: int
) -> Rationals:
    """Convolves one map ``x [C_in, H, W]`` without rounding, and without a bias.

    Args:
        x: The map.
        kernel: The kernel, ``[C_out, C_in / groups, kh, kw]``.
        stride: Vertical and horizontal stride.
        padding: Zeros on each side, vertical and horizontal.
        dilation: Spacing of the kernel's elements.
        size: Height and width of the output.
        groups: Number of groups of channels that do not mix.

    Returns:
        The output, ``[C_out, *size]``.
    """
    (ph, pw), (dh, dw), (height, width) = padding, dilation, size
    channels, *of_input = x.numerators.shape
    padded = np.full((channels, of_input[0] + 2 * ph, of_input[1] + 2 * pw), 0, object)  # np.pad's 0 is one of int64
    padded[:, ph : ph + of_input[0], pw : pw + of_input[1]] = x.numerators
    reach = [(k - 1) * d + 1 for k, d in zip(kernel.numerators.shape[2:], dilation, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, (1, 2))
    windows = windows[:, :: stride[0], :: stride[1], ::dh, ::dw][:, :height, :width]
    by_group = windows.transpose(0, 3, 4, 1, 2).reshape(groups, -1, height * width)
    kernels = kernel.numerators.reshape(groups, len(kernel.numerators) // groups, -1)
    products = np.concatenate([k @ w for k, w in zip(kernels, by_group, strict=True)])
    return Rationals(products.reshape(-1, height, width), kernel.denominator * x.denominator)
