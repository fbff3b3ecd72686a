"""Convolution of a whole map, and its transpose, as a product with one matrix."""

from typing import NamedTuple

from torch import Tensor

from gls_lightning.bounds._windows import Pair, area
from gls_lightning.bounds.kernels import MatrixBand, banded_product
from gls_lightning.bounds.rows.unrolled_convolution import placed


class Geometry(NamedTuple):
    """Sizes of a convolution.

    Attributes:
        channels: Channels of the output and of the input.
        length: Height and width of the output.
        kernel: Height and width of the kernel.
        stride: Its steps.
        padding: Zeros on each side of the input.
        dilation: Spacing of the kernel's elements.
        size: Height and width of the input.
        groups: Groups of channels that do not mix.
    """

    channels: Pair
    length: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    size: Pair
    groups: int

    @classmethod
    def of(
        cls, kernel: Tensor, length: Pair, stride: Pair, padding: Pair, dilation: Pair, size: Pair, groups: int
    ) -> "Geometry":
        """Returns the sizes of a convolution with ``kernel [C_out, C_in / groups, kh, kw]``."""
        channels, kernel_size = (kernel.shape[0], kernel.shape[1] * groups), (kernel.shape[2], kernel.shape[3])
        return cls(channels, length, kernel_size, stride, padding, dilation, size, groups)

    @property
    def matrix_size(self) -> int:
        """Elements of the matrices of all groups."""
        outputs, inputs = self.channels
        return outputs * area(self.length) * inputs * area(self.size) // self.groups

    @property
    def products(self) -> int:
        """Products that one map needs, those with the padding included."""
        outputs, inputs = self.channels
        return outputs * area(self.length) * inputs * area(self.kernel) // self.groups

    @property
    def band(self) -> MatrixBand:
        """The part of the matrix that is not 0."""
        reach = (self.kernel[0] - 1) * self.dilation[0] + 1
        return MatrixBand(self.length[0], self.size[0], self.stride[0], self.padding[0], reach)

    def by_matrix(self, *, batched: bool, tf32: bool) -> bool:
        """Says whether a product with the matrix is the fastest form on CUDA.

        Args:
            batched: Whether ``torch.func.vmap`` runs over the kernel. A convolution would then be grouped, and groups
                are slow on CUDA; products of matrices are not.
            tf32: Whether matrix products run in TensorFloat-32.
        """
        return (batched or tf32) and self.matrix_size <= min(LARGEST_MATRIX, GREATEST_SHARE * self.products)


LARGEST_MATRIX = 2**24
"""Elements of a matrix beyond which convolutions are not written as one: 64 MiB of float32."""

GREATEST_SHARE = 32
"""Elements of the matrix for each useful product beyond which it costs more than it saves (measured up to 31)."""


def convolution_matrices(kernel: Tensor, geometry: Geometry) -> Tensor:
    """Writes a convolution of maps with the channels last as one matrix for each group.

    Args:
        kernel: Kernel of the convolution, ``[C_out, C_in / groups, kh, kw]``.
        geometry: Its sizes.

    Returns:
        The matrices, ``[groups, h * w * C_out / groups, H * W * C_in / groups]``: output by input.
    """
    _, length, _, stride, padding, dilation, size, groups = geometry
    # groups, C_out/g, C_in/g, h * w, H * W -> groups, h * w, C_out/g, H * W, C_in/g
    in_place = placed(kernel, stride, padding, dilation, length, size, groups).permute(0, 3, 1, 4, 2)
    by_output: Tensor = in_place.flatten(3)
    return by_output.flatten(1, 2)


def transposed_by_matrix(maps: Tensor, kernel: Tensor, geometry: Geometry) -> Tensor:
    """Applies the transpose of a convolution to ``[N, C_out, h, w]`` as a matrix product: ``[N, C_in, H, W]``."""
    return _multiplied(maps, kernel, geometry, transposed=False)


def convolved_by_matrix(x: Tensor, kernel: Tensor, geometry: Geometry) -> Tensor:
    """Applies a convolution without bias to ``[N, C_in, H, W]`` as a matrix product: ``[N, C_out, h, w]``."""
    return _multiplied(x, kernel, geometry, transposed=True)


def _multiplied(maps: Tensor, kernel: Tensor, geometry: Geometry, *, transposed: bool) -> Tensor:
    matrices, groups = convolution_matrices(kernel, geometry), geometry.groups
    channels_last = maps.movedim(1, -1)
    height, width = geometry.length if transposed else geometry.size
    if groups == 1:
        product = banded_product(channels_last.flatten(1), matrices[0], geometry.band, transposed=transposed)
        whole: Tensor = product.unflatten(1, (height, width, -1))
    else:
        by_group: Tensor = channels_last.unflatten(-1, (groups, -1)).movedim(-2, 0)
        product = banded_product(by_group.flatten(2), matrices, geometry.band, transposed=transposed)
        parts: Tensor = product.unflatten(2, (height, width, -1))
        whole = parts.movedim(0, -2).flatten(-2)
    return whole.movedim(-1, 1)
