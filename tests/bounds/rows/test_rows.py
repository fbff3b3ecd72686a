"""Rows through an activation: bands of lines and rows as they leave their first activation."""

import pytest
import torch
from torch import Tensor

from gls_lightning.bounds._windows import Windows
from gls_lightning.bounds.lines import Band, Lines
from gls_lightning.bounds.rows import DenseRows, FactoredRows, Functions, PatchRows, Rows, relax_rows

SHAPE = torch.Size([2, 4, 3])
MIRRORED = Functions(mirrored=True)
ROWS = {
    "vector": lambda: DenseRows(random(1, 1, 4, 5), torch.Size([5]), MIRRORED),
    "map": lambda: DenseRows.of(random(1, 1, 4, *SHAPE), MIRRORED),
    "channels": lambda: PatchRows.identity(random(4, 2), SHAPE, MIRRORED),
    "windows over the edge": lambda: PatchRows(
        random(1, 1, 4, 2 * 3 * 2), Windows((2, 4, 3), (3, 2), (2, 1), (-1, 0), (2, 3)), False, MIRRORED
    ),
    "rows for each sample": lambda: DenseRows(random(2, 1, 4, 5), torch.Size([5]), MIRRORED),
}
every_kind = pytest.mark.parametrize("kind", ROWS)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(len(shape)))


def shape_of(rows: Rows) -> torch.Size:
    return torch.Size(rows.windows.shape) if isinstance(rows, PatchRows) else rows.to_dense().shape


def band_for(rows: Rows) -> Band:
    slope, narrowing, gap, centre = random(4, 2, *shape_of(rows))
    return Band(slope, narrowing, gap.abs(), centre)


def per_element(rows: Rows) -> Tensor:
    """Coefficients of every element of the node, ``[B|1, P, S, elements]``."""
    return rows.to_dense().elements.flatten(3)


def test_lines_around_a_point() -> None:
    lower_slope, lower_offset, upper_slope, upper_offset, argument, deviation = random(6, 3, 5)
    band = Lines(lower_slope, lower_offset, upper_slope, upper_offset).around(argument)
    torch.testing.assert_close(band.centre, upper_slope * argument + upper_offset)
    above = band.centre + band.slope * deviation
    below = band.centre + (band.slope + band.narrowing) * deviation - band.gap
    torch.testing.assert_close(above, upper_slope * (argument + deviation) + upper_offset)
    torch.testing.assert_close(below, lower_slope * (argument + deviation) + lower_offset)


@every_kind
def test_rows_that_leave_an_activation(kind: str) -> None:
    """Positive coefficients take the line below, negative ones that above; the negated functions the other way."""
    rows = ROWS[kind]()
    band = band_for(rows)
    slope, narrowing, gap = (line.flatten(1)[:, None, None] for line in band[:3])
    plain = per_element(rows)
    both = torch.cat([plain, -plain], 2)
    relaxed, constant = relax_rows(rows, band)
    below = (both > 0).double()
    torch.testing.assert_close(per_element(relaxed), both * slope + below * both * narrowing)
    torch.testing.assert_close(constant, -(below * both * gap).sum(-1))
    assert not relaxed.functions.mirrored
    unmirrored, same = relax_rows(rows.unmirrored(), band)
    torch.testing.assert_close(per_element(unmirrored), per_element(relaxed))
    torch.testing.assert_close(same, constant)


@every_kind
def test_factored_rows_stand_for_their_products(kind: str) -> None:
    rows = ROWS[kind]()
    factored, _ = relax_rows(rows, band_for(rows))
    assert isinstance(factored, FactoredRows)
    values = factored.values
    assert values.shape[2] == 8
    torch.testing.assert_close(factored.expanded().values, values)

    factor = random(2, *shape_of(rows))
    multiplied = factored.multiply(factor)
    torch.testing.assert_close(per_element(multiplied), per_element(factored) * factor.flatten(1)[:, None, None])
    total = factored + multiplied
    torch.testing.assert_close(per_element(total), per_element(factored) + per_element(multiplied))

    radius = factor.abs()
    smallest = -(per_element(factored).abs() * radius.flatten(1)[:, None, None]).sum(-1)
    torch.testing.assert_close(factored.minimum(radius), smallest)


@pytest.mark.parametrize("size", [1, 3, 4])
@every_kind
def test_rows_split(kind: str, size: int) -> None:
    rows = ROWS[kind]()
    band = band_for(rows)
    factored, _ = relax_rows(rows, band)
    parts = [relax_rows(part, band)[0].values.chunk(2, 2) for part in rows.split(size)]
    assert [straight.shape[2] for straight, _ in parts] == {1: [1] * 4, 3: [3, 1], 4: [4]}[size]
    joined = torch.cat([torch.cat(side, 2) for side in zip(*parts, strict=True)], 2)
    torch.testing.assert_close(joined, factored.values)


@pytest.mark.parametrize("kind", ["vector", "channels", "windows over the edge"])
def test_a_joint_product_is_that_of_the_values(kind: str) -> None:
    rows = ROWS[kind]()
    factored, _ = relax_rows(rows, band_for(rows))
    matrix = random(rows.values.shape[-1], 6)
    assert factored.can_join(matrix)
    torch.testing.assert_close(factored.product(matrix), factored.values @ matrix)

    def product(values: Tensor, slope: Tensor, deviation: Tensor, matrix: Tensor) -> Tensor:
        return FactoredRows(rows.with_values(values, MIRRORED), slope, deviation).product(matrix)

    leaves = rows.values, factored.slope, factored.deviation, matrix
    assert torch.autograd.gradcheck(product, [leaf.detach().requires_grad_() for leaf in leaves], fast_mode=True)


def test_rows_that_are_not_shared_are_multiplied_out() -> None:
    rows = ROWS["rows for each sample"]()
    factored, _ = relax_rows(rows, band_for(rows))
    assert not factored.can_join(random(5, 6))


def test_rows_join_only_while_small() -> None:
    rows = ROWS["vector"]()
    factored, _ = relax_rows(rows, band_for(rows))
    assert not factored.can_join(torch.empty(5, 2**18, device="meta"))
