"""Products that treat positive and negative coefficients differently: the inner loop of every linear bound.

A lower bound of ``a * v`` takes the line below ``v`` where ``a`` is positive and the line above where it is negative.
``a * above + max(a, 0) * (below - above)`` is far faster than a choice between them. Of plain tensor operations,
autograd keeps several results of the size of the coefficients; of these functions it keeps the coefficients alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gls_lightning.bounds.kernels.banded_product import MatrixBand, banded_product


def contract(rows: Tensor, vector: Tensor) -> Tensor:
    """Sums ``rows [B|1, P|1, S, K] * vector [B|1, P|1, 1, K]`` over ``K``; one matrix product where rows are shared."""
    if rows.shape[:2] == (1, 1):
        return F.linear(vector.squeeze(-2), rows[0, 0])
    return (rows @ vector.mT).squeeze(-1)


def _combine(weights: Tensor, rows: Tensor) -> Tensor:
    """Sums ``weights [B, P, S] * rows [B|1, P|1, S, K]`` over ``S``: ``[B, P, 1, K]``."""
    if rows.shape[:2] == (1, 1):
        return (weights @ rows[0, 0]).unsqueeze(-2)
    return weights.unsqueeze(-2) @ rows


class _Relax(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, slope: Tensor, narrowing: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
        positive = rows.clamp_min(0)
        # Not addcmul: products that cancel, as above a lower slope of 0, must give 0 and no rounding error.
        return (rows * slope).add_(positive * narrowing), -contract(positive, gap)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_constant: Tensor) -> tuple[Tensor | None, ...]:
        rows, slope, narrowing, gap = ctx.saved_tensors
        positive = rows.clamp_min(0)
        grad_gap = -_combine(grad_constant, positive).sum_to_size(gap.shape)
        where_positive = positive.sign_()
        by_row = grad * rows
        grad_slope = by_row.sum(-2, keepdim=True).sum_to_size(slope.shape)
        grad_narrowing = by_row.mul_(where_positive).sum(-2, keepdim=True).sum_to_size(narrowing.shape)
        narrowed = (grad * narrowing).sub_(grad_constant.unsqueeze(-1) * gap).mul_(where_positive)
        return narrowed.add_(grad * slope).sum_to_size(rows.shape), grad_slope, grad_narrowing, grad_gap


class _AbsoluteDot(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, radius: Tensor) -> Tensor:
        return contract(rows.abs(), radius)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        rows, radius = ctx.saved_tensors
        for_radius = ctx.needs_input_grad[1]
        grad_radius = _combine(grad, rows.abs()).sum_to_size(radius.shape) if for_radius else None
        if rows.shape[:2] == (1, 1):
            by_element = (grad.flatten(0, -2).mT @ radius.flatten(0, -2)).expand(rows.shape)
        else:
            by_element = (grad.unsqueeze(-1) * radius).sum_to_size(rows.shape)
        return by_element * rows.sign(), grad_radius


def plain_relax(rows: Tensor, slope: Tensor, narrowing: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
    """Returns :func:`~gls_lightning.bounds.kernels.relax` in operations of PyTorch."""
    return _Relax.apply(rows, slope, narrowing, gap)  # type: ignore[no-any-return]


def plain_absolute_dot(rows: Tensor, radius: Tensor) -> Tensor:
    """Returns :func:`~gls_lightning.bounds.kernels.absolute_dot` in operations of PyTorch."""
    return _AbsoluteDot.apply(rows, radius)  # type: ignore[no-any-return]


def plain_relaxed_product(
    rows: Tensor, slope: Tensor, narrowing: Tensor, gap: Tensor, matrix: Tensor, band: MatrixBand
) -> tuple[Tensor, Tensor]:
    """Returns :func:`~gls_lightning.bounds.kernels.relaxed_product` in operations of PyTorch."""
    values, constant = plain_relax(rows, slope, narrowing, gap)
    return banded_product(values.flatten(0, 2), matrix, band).unflatten(0, values.shape[:3]), constant


class _BothSigns(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(straight: Tensor, absolute: Tensor) -> Tensor:
        return torch.cat([absolute + straight, absolute - straight], -2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        of_rows, of_negatives = grad.chunk(2, -2)
        return of_rows - of_negatives, of_rows + of_negatives


def both_signs(straight: Tensor, absolute: Tensor) -> Tensor:
    """Relaxes rows and their negatives, ``[B, P, 2 S, K]``.

    Args:
        straight: The rows times the mean slopes, ``[B, P, S, K]``.
        absolute: Their absolute values times half of what the line below is steeper, ``[B, P, S, K]``.
    """
    return _BothSigns.apply(straight, absolute)  # type: ignore[no-any-return]
