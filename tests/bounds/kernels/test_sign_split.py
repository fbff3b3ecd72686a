"""Products that depend on the sign of the coefficients, against a choice for each coefficient."""

from itertools import product

import pytest
import torch
from torch import Tensor

from gls_lightning.bounds.kernels import absolute_dot, both_signs, contract, relax

B, P, S, K = 2, 3, 4, 5
LEADING = list(product((1, B), (1, P)))
every_sharing = pytest.mark.parametrize("leading", LEADING, ids=str)
every_sharing_of_lines = pytest.mark.parametrize("of_lines", LEADING, ids=str)


def random(*shape: int, seed: int = 0) -> Tensor:
    """Numbers none of which is near 0, where the functions have a kink."""
    numbers = torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    return (numbers + 0.1 * numbers.sign()).requires_grad_()


def lines(leading: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    slope, narrowing, gap = (random(*leading, 1, K, seed=seed) for seed in (1, 2, 3))
    return slope, narrowing, gap


@every_sharing
@every_sharing_of_lines
def test_relax_takes_the_line_below_for_positive_coefficients(
    leading: tuple[int, int], of_lines: tuple[int, int]
) -> None:
    rows, (slope, narrowing, gap) = random(*leading, S, K), lines(of_lines)
    values, constant = relax(rows, slope, narrowing, gap)
    below = (rows > 0).double()
    torch.testing.assert_close(values, torch.where(rows > 0, rows * (slope + narrowing), rows * slope))
    torch.testing.assert_close(constant, -(below * rows * gap).sum(-1))


@every_sharing
@every_sharing_of_lines
def test_gradients_equal_finite_differences(leading: tuple[int, int], of_lines: tuple[int, int]) -> None:
    rows, (slope, narrowing, gap) = random(*leading, S, K), lines(of_lines)
    assert torch.autograd.gradcheck(relax, (rows, slope, narrowing, gap), fast_mode=True)
    assert torch.autograd.gradcheck(absolute_dot, (rows, gap), fast_mode=True)
    assert torch.autograd.gradcheck(absolute_dot, (rows, gap.detach()), fast_mode=True)


@every_sharing
@every_sharing_of_lines
def test_sums_over_the_elements(leading: tuple[int, int], of_lines: tuple[int, int]) -> None:
    rows, (vector, *_) = random(*leading, S, K), lines(of_lines)
    torch.testing.assert_close(contract(rows, vector), (rows * vector).sum(-1))
    torch.testing.assert_close(absolute_dot(rows, vector), (rows.abs() * vector).sum(-1))


def test_both_signs_are_the_rows_and_their_negatives_relaxed() -> None:
    rows, (slope, narrowing, gap) = random(1, 1, S, K), lines((B, P))
    straight, absolute = rows * (slope + narrowing / 2), rows.abs() * narrowing / 2
    expected = torch.cat([relax(side, slope, narrowing, gap)[0] for side in (rows, -rows)], -2)
    torch.testing.assert_close(both_signs(straight, absolute), expected)
    assert torch.autograd.gradcheck(both_signs, (straight, absolute))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_lower_slope_of_zero_gives_zeros(dtype: torch.dtype) -> None:
    """Not rounding errors, whose signs would decide what the next activation does with them."""
    torch.manual_seed(0)
    rows, slope = torch.randn(S, 1000, dtype=dtype)[None, None], torch.rand(B, 1, 1, 1000, dtype=dtype)
    values, _ = relax(rows, slope, -slope, slope)
    assert (values[(rows > 0).expand_as(values)] == 0).all()
    values = both_signs(rows * (slope - slope / 2), rows.abs() * (-slope / 2))
    above, below = values.chunk(2, -2)
    assert (above[(rows > 0).expand_as(above)] == 0).all()
    assert (below[(rows < 0).expand_as(below)] == 0).all()


def test_zero_coefficients_have_the_slope_of_the_line_above() -> None:
    rows = torch.zeros(1, 1, S, K, dtype=torch.double, requires_grad=True)
    slope, narrowing, gap = lines((B, P))
    values, constant = relax(rows, slope, narrowing, gap)
    assert not values.any()
    assert not constant.any()
    (gradient,) = torch.autograd.grad((values.sum(), constant.sum()), rows)
    torch.testing.assert_close(gradient, slope.sum((0, 1)).expand(1, 1, S, K))
    (gradient,) = torch.autograd.grad(absolute_dot(rows, gap).sum(), rows)
    assert not gradient.any()


def test_vmap_over_the_lines_equals_the_loop() -> None:
    rows = random(1, 1, S, K).detach()
    stacks = [torch.stack([line.detach() * (i + 1) for i in range(3)]) for line in lines((B, P))]

    def loss(rows: Tensor, slope: Tensor, narrowing: Tensor, gap: Tensor) -> Tensor:
        values, constant = relax(rows, slope, narrowing, gap)
        return both_signs(values, values.abs()).sin().sum() + (constant * absolute_dot(values, gap)).sum()

    gradients = torch.func.vmap(torch.func.grad(loss, (0, 1, 2, 3)), (None, 0, 0, 0))(rows, *stacks)
    for i in range(3):
        leaves = [rows.clone().requires_grad_(), *(stack[i].clone().requires_grad_() for stack in stacks)]
        torch.testing.assert_close([g[i] for g in gradients], list(torch.autograd.grad(loss(*leaves), leaves)))
