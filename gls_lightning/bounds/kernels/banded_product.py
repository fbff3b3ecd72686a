"""Products of rows with a matrix that is 0 away from a band, such as the matrix of a convolution."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class MatrixBand(NamedTuple):
    """The band of a matrix ``[K, L]``: a convolution's, for rows over maps with the channels last.

    ``K`` is divided into ``outputs`` parts of the same size, one for each line of the convolution's output, and ``L``
    into ``inputs``. Line ``i`` of the output reads the lines ``i * stride - padding`` to
    ``i * stride - padding + reach - 1`` of the input.

    Attributes:
        outputs: Height of the convolution's output.
        inputs: Height of its input.
        stride: Its vertical stride.
        padding: Its vertical padding.
        reach: Its kernel's extent, dilation included.
    """

    outputs: int
    inputs: int
    stride: int
    padding: int
    reach: int

    def outputs_of(self, first: int, end: int) -> tuple[int, int]:
        """Returns the range of the output's lines that read any of the input's lines ``first`` to ``end - 1``."""
        start = -(-(first + self.padding - self.reach + 1) // self.stride)
        return _within(start, (end - 1 + self.padding) // self.stride + 1, self.outputs)

    def inputs_of(self, first: int, end: int) -> tuple[int, int]:
        """Returns the range of the input's lines that the output's lines ``first`` to ``end - 1`` read."""
        start = first * self.stride - self.padding
        return _within(start, (end - 1) * self.stride - self.padding + self.reach, self.inputs)

    def blocks(self, *, transposed: bool = False) -> "tuple[Block, ...]":
        """Divides the columns so that few products with zeros remain; for the transposed matrix, the rows."""
        lines = self.outputs if transposed else self.inputs
        candidates = [self._divided(-(-lines // parts), transposed) for parts in range(1, min(lines, _MOST_BLOCKS) + 1)]
        return min(candidates, key=self._cost)

    def _divided(self, size: int, transposed: bool) -> "tuple[Block, ...]":
        if transposed:
            ranges = _parts(self.outputs, size)
            return tuple(Block(*lines, *self.inputs_of(*lines)) for lines in ranges)
        return tuple(Block(*self.outputs_of(*lines), *lines) for lines in _parts(self.inputs, size))

    def _cost(self, blocks: "tuple[Block, ...]") -> float:
        products = sum((b.last_output - b.first_output) * (b.last_input - b.first_input) for b in blocks)
        return products / (self.outputs * self.inputs) + _COST_OF_A_BLOCK * len(blocks)


WHOLE = MatrixBand(outputs=1, inputs=1, stride=1, padding=0, reach=1)
"""The band of a matrix that may be 0 nowhere."""


class Block(NamedTuple):
    """Lines of the output and of the input, each up to and without ``last``, whose products a block holds."""

    first_output: int
    last_output: int
    first_input: int
    last_input: int


_MOST_BLOCKS = 8
"""Blocks beyond which single products get too small."""

_COST_OF_A_BLOCK = 0.03
"""The cost of a block by itself, as a share of the product with the whole matrix (an estimate)."""


def banded_product(rows: Tensor, matrix: Tensor, band: MatrixBand, *, transposed: bool = False) -> Tensor:
    """Multiplies ``rows [..., N, K]`` by ``matrix [..., K, L]``, or ``[..., N, L]`` by its transpose.

    Gradients follow the band, too.
    """
    return _BandedProduct.apply(rows, matrix, band, transposed)  # type: ignore[no-any-return]


class _BandedProduct(torch.autograd.Function):
    @staticmethod
    def forward(rows: Tensor, matrix: Tensor, band: MatrixBand, transposed: bool) -> Tensor:
        return _product(rows, matrix, band, transposed)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        rows, matrix, ctx.band, ctx.transposed = inputs
        ctx.save_for_backward(rows, matrix)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, matrix = ctx.saved_tensors
        grad_matrix = None
        if ctx.needs_input_grad[1]:
            left, right = (grad, rows) if ctx.transposed else (rows, grad)
            grad_matrix = product_of_rows(left, right, ctx.band).sum_to_size(matrix.shape)
        grad_rows = banded_product(grad, matrix, ctx.band, transposed=not ctx.transposed).sum_to_size(rows.shape)
        return grad_rows, grad_matrix, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], rows: Tensor, matrix: Tensor, *options: Any) -> tuple[Tensor, int]:
        # By hand, so that the forward pass may write parts of a tensor. Dimensions in front are matched from the last.
        leading = max(rows.ndim - (in_dims[0] is not None), matrix.ndim - (in_dims[1] is not None)) - 2
        rows, matrix = (_fronted(t, dim, leading) for t, dim in zip((rows, matrix), in_dims[:2], strict=True))
        return _BandedProduct.apply(rows, matrix, *options), 0


def _fronted(tensor: Tensor, dim: int | None, leading: int) -> Tensor:
    """Moves the dimension of members before ``leading`` others, of size 1 where the tensor lacks them."""
    if dim is None:
        return tensor
    tensor = tensor.movedim(dim, 0)
    missing = leading + 3 - tensor.ndim
    return tensor[(slice(None), *[None] * missing)]


def _product(rows: Tensor, matrix: Tensor, band: MatrixBand, transposed: bool) -> Tensor:
    blocks = band.blocks(transposed=transposed)
    if len(blocks) == 1:
        return rows @ (matrix.mT if transposed else matrix)
    leading = torch.broadcast_shapes(rows.shape[:-2], matrix.shape[:-2])
    whole = rows.new_empty(*leading, rows.shape[-2], matrix.shape[-2 if transposed else -1])
    for outputs, inputs in _slices(matrix.shape[-2], matrix.shape[-1], band, blocks):
        part = matrix[..., outputs, inputs]
        if transposed:
            _multiply(rows[..., inputs], part.mT, whole[..., outputs])
        else:
            _multiply(rows[..., outputs], part, whole[..., inputs])
    return whole


def _multiply(left: Tensor, right: Tensor, result: Tensor) -> None:
    """Writes a product into a part of a tensor, where a library can do so without a copy."""
    if result.ndim == 2:
        torch.mm(left, right, out=result)
    elif result.ndim == 3:
        torch.bmm(left.expand(len(result), -1, -1), right.expand(len(result), -1, -1), out=result)
    else:
        result.copy_(left @ right)


def _slices(height: int, width: int, band: MatrixBand, blocks: tuple[Block, ...]) -> Iterator[tuple[slice, slice]]:
    of_output, of_input = height // band.outputs, width // band.inputs
    for block in blocks:
        outputs = slice(block.first_output * of_output, block.last_output * of_output)
        yield outputs, slice(block.first_input * of_input, block.last_input * of_input)


def product_of_rows(left: Tensor, right: Tensor, band: MatrixBand) -> Tensor:
    """Multiplies ``left [..., N, K]``, transposed, by ``right [..., N, L]`` inside the band: ``[..., K, L]``."""
    size = left.shape[-1]
    columns = [
        F.pad(left[..., outputs].mT @ right[..., inputs], (0, 0, outputs.start, size - outputs.stop))
        for outputs, inputs in _slices(size, right.shape[-1], band, band.blocks())
    ]
    return torch.cat(columns, -1) if len(columns) > 1 else columns[0]


def _within(start: int, end: int, size: int) -> tuple[int, int]:
    start, end = (min(max(number, 0), size) for number in (start, end))
    return start, max(start, end)


def _parts(length: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, length)) for start in range(0, length, size))
