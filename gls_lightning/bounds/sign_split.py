"""Products that treat positive and negative coefficients differently: the inner loop of every linear bound.

A lower bound of ``a * v`` takes the line below ``v`` where ``a`` is positive and the line above where it is negative:
``a * mean + |a| * deviation`` of the two, which is far faster than a choice between them. Of plain tensor operations,
autograd keeps several results of the size of the coefficients; of these functions it keeps the coefficients alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gls_lightning.bounds.lines import Lines


def contract(rows: Tensor, vector: Tensor) -> Tensor:
    """Sums ``rows [B|1, P|1, S, K] * vector [B|1, P|1, 1, K]`` over ``K``; one matrix product where rows are shared."""
    if rows.shape[:2] == (1, 1):
        return F.linear(vector.squeeze(-2), rows[0, 0])
    return (rows @ vector.mT).squeeze(-1)


class _Relax(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        rows: Tensor, slope: Tensor, deviation: Tensor, offset: Tensor, offset_deviation: Tensor
    ) -> tuple[Tensor, Tensor]:
        absolute = rows.abs()
        relaxed = (rows * slope).addcmul_(absolute, deviation)
        return relaxed, contract(rows, offset) + contract(absolute, offset_deviation)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_constant: Tensor) -> tuple[Tensor | None, ...]:
        rows, slope, deviation, offset, offset_deviation = ctx.saved_tensors
        sign, upright, flat = rows.sign(), grad_constant.unsqueeze(-1), grad_constant.unsqueeze(-2)
        signed = (grad * deviation).addcmul_(upright, offset_deviation)
        grad_rows = (grad * slope).addcmul_(upright, offset).addcmul_(sign, signed)
        by_row = grad * rows
        grad_slope = by_row.sum(-2, keepdim=True).sum_to_size(slope.shape)
        grad_deviation = by_row.mul_(sign).sum(-2, keepdim=True).sum_to_size(deviation.shape)
        grad_offset = (flat @ rows).sum_to_size(offset.shape)
        grad_offset_deviation = (flat @ rows.abs()).sum_to_size(offset.shape)
        return grad_rows.sum_to_size(rows.shape), grad_slope, grad_deviation, grad_offset, grad_offset_deviation


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
        grad_radius = (grad.unsqueeze(-2) @ rows.abs()).sum_to_size(radius.shape) if for_radius else None
        if rows.shape[:2] == (1, 1):
            by_element = (grad.flatten(0, -2).mT @ radius.flatten(0, -2)).expand(rows.shape)
        else:
            by_element = (grad.unsqueeze(-1) * radius).sum_to_size(rows.shape)
        return by_element * rows.sign(), grad_radius


def relax(rows: Tensor, lines: Lines) -> tuple[Tensor, Tensor]:
    """Substitutes the line below for positive coefficients and the line above for negative ones.

    Args:
        rows: Coefficients, ``[B|1, P|1, S, K]``.
        lines: The lines that each row reads, ``[B|1, P|1, 1, K]`` each.

    Returns:
        Coefficients ``[B, P, S, K]`` of the lines' argument, and the sum of the offsets ``[B, P, S]``.
    """
    slope, deviation = mean_and_deviation(lines.lower_slope, lines.upper_slope)
    offset, offset_deviation = mean_and_deviation(lines.lower_offset, lines.upper_offset)
    return _Relax.apply(rows, slope, deviation, offset, offset_deviation)  # type: ignore[no-any-return]


def mean_and_deviation(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """What the coefficients, and what their absolute values are multiplied with."""
    return (positive + negative) / 2, (positive - negative) / 2


def both_signs(straight: Tensor, absolute: Tensor, dim: int = -1) -> Tensor:
    """``a * mean + |a| * deviation`` for coefficients and then for their negatives, given the two products."""
    return torch.cat([absolute + straight, absolute - straight], dim)


def absolute_dot(rows: Tensor, radius: Tensor) -> Tensor:
    """``|rows| [B|1, P|1, S, K]`` times ``radius [B|1, P|1, 1, K]``, summed over ``K``: ``[B, P, S]``."""
    return _AbsoluteDot.apply(rows, radius)  # type: ignore[no-any-return]
