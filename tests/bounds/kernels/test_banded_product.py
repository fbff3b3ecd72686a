"""Products with a band of a matrix, against products with the whole matrix."""

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gls_lightning.bounds.kernels import WHOLE, MatrixBand, banded_product

numbers = st.integers(1, 12)
bands = st.builds(MatrixBand, numbers, numbers, st.integers(1, 3), st.integers(0, 5), st.integers(1, 6))


def matrix_of(band: MatrixBand, width: tuple[int, int] = (2, 3), leading: tuple[int, ...] = ()) -> Tensor:
    """A matrix that is 0 away from the band."""
    generator = torch.Generator().manual_seed(0)
    lines = torch.randn(
        *leading, band.outputs, width[0], band.inputs, width[1], dtype=torch.double, generator=generator
    )
    first = torch.arange(band.outputs)[:, None] * band.stride - band.padding
    inputs = torch.arange(band.inputs)
    reached = (inputs >= first) & (inputs < first + band.reach)
    return (lines * reached[:, None, :, None]).flatten(-2).flatten(-3, -2)


@settings(deadline=None)
@given(bands, st.booleans())
def test_products_and_gradients_are_those_of_the_whole_matrix(band: MatrixBand, transposed: bool) -> None:
    matrix = matrix_of(band)
    rows = torch.randn(4, matrix.shape[0 if not transposed else 1], dtype=torch.double).requires_grad_()
    leaf = matrix.clone().requires_grad_()
    expected = rows @ (leaf.mT if transposed else leaf)
    found = banded_product(rows, leaf, band, transposed=transposed)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(expected)
    of_rows, of_matrix = torch.autograd.grad(found, (rows, leaf), direction)
    for_rows, for_matrix = torch.autograd.grad(expected, (rows, leaf), direction)
    torch.testing.assert_close(of_rows, for_rows)
    inside = matrix != 0  # elsewhere a gradient goes nowhere
    torch.testing.assert_close(of_matrix[inside], for_matrix[inside])


@settings(deadline=None)
@given(bands)
def test_blocks_cover_every_line_once(band: MatrixBand) -> None:
    columns = [line for block in band.blocks() for line in range(block.first_input, block.last_input)]
    assert columns == list(range(band.inputs))
    rows = [line for block in band.blocks(transposed=True) for line in range(block.first_output, block.last_output)]
    assert rows == list(range(band.outputs))


def test_blocks_leave_most_products_with_zeros_out() -> None:
    band = MatrixBand(outputs=14, inputs=28, stride=2, padding=2, reach=5)  # the first layer of CNN5
    for transposed in (False, True):
        blocks = band.blocks(transposed=transposed)
        products = sum((b.last_output - b.first_output) * (b.last_input - b.first_input) for b in blocks)
        assert products < 0.45 * 14 * 28
    assert WHOLE.blocks() == ((0, 1, 0, 1),)


@pytest.mark.parametrize("members", [(None, 0), (0, 0), (0, None)])
def test_vmap_equals_the_loop(members: tuple[int | None, int | None]) -> None:
    band = MatrixBand(6, 12, 2, 1, 3)
    matrices = matrix_of(band, leading=(3,))
    rows = torch.randn(3, 4, 12, dtype=torch.double)
    chosen = [t if dim == 0 else t[0] for t, dim in zip((rows, matrices), members, strict=True)]

    def loss(rows: Tensor, matrix: Tensor) -> Tensor:
        return banded_product(rows, matrix, band).sin().sum()

    together = torch.func.vmap(torch.func.grad(loss, (0, 1)), members)(*chosen)
    for i in range(3):
        one = [t[i] if dim == 0 else t for t, dim in zip(chosen, members, strict=True)]
        torch.testing.assert_close([g[i] for g in together], list(torch.func.grad(loss, (0, 1))(*one)))


@pytest.mark.parametrize("members", [(None, 0), (2, 1), (0, None)])
@pytest.mark.parametrize("leading", [((), (2,)), ((2,), (2,)), ((2,), ())], ids=str)
@pytest.mark.parametrize("gradient_inside", [True, False])
def test_vmap_with_groups(
    members: tuple[int | None, int | None], leading: tuple[tuple[int, ...], tuple[int, ...]], gradient_inside: bool
) -> None:
    band = MatrixBand(6, 12, 2, 1, 3)
    rows, matrices = torch.randn(*leading[0], 4, 12, dtype=torch.double), matrix_of(band, leading=leading[1])
    chosen = [
        t if dim is None else torch.stack([t, 2 * t, -t], min(dim, t.ndim))
        for t, dim in zip((rows, matrices), members, strict=True)
    ]

    def loss(product: Any, rows: Tensor, matrix: Tensor) -> Tensor:
        return product(rows, matrix).sin().sum()

    inside = matrix_of(band) != 0

    def gradients(product: Any) -> Any:
        one = partial(loss, product)
        if gradient_inside:
            return torch.func.vmap(torch.func.grad(one, (0, 1)), members)(*chosen)
        return torch.func.grad(lambda *x: torch.func.vmap(one, members)(*x).sum(), (0, 1))(*chosen)

    banded = gradients(lambda rows, matrix: banded_product(rows, matrix * inside, band))
    whole = gradients(lambda rows, matrix: rows @ (matrix * inside))
    torch.testing.assert_close(banded, whole)


def test_gradients_can_be_differentiated_again() -> None:
    band = MatrixBand(4, 8, 2, 1, 4)
    matrix = matrix_of(band, (1, 1)).requires_grad_()
    rows = torch.randn(2, 4, dtype=torch.double, requires_grad=True)
    inside = matrix_of(band, (1, 1)) != 0

    def product(rows: Tensor, matrix: Tensor) -> Tensor:
        return banded_product(rows, matrix * inside, band)

    assert torch.autograd.gradgradcheck(product, (rows, matrix))
