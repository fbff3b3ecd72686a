"""Products that treat positive and negative coefficients differently: the inner loop of every linear bound.

A lower bound of ``a * v`` takes the line below ``v`` where ``a`` is positive and the line above where it is negative.
Of plain tensor operations that do so, autograd keeps several results of the size of the coefficients; of these
functions it keeps the coefficients alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def contract(rows: Tensor, vector: Tensor) -> Tensor:
    """Sums ``rows [B|1, P|1, S, K] * vector [B|1, P|1, 1, K]`` over ``K``; one matrix product where rows are shared."""
    if rows.shape[:2] == (1, 1):
        return F.linear(vector.squeeze(-2), rows[0, 0])
    return (rows @ vector.mT).squeeze(-1)


class _Product(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return rows * torch.where(rows > 0, positive, negative)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        rows, positive, negative = ctx.saved_tensors
        grad_rows = (grad * torch.where(rows > 0, positive, negative)).sum_to_size(rows.shape)
        _, for_positive, for_negative = ctx.needs_input_grad
        grad_positive = (grad * rows.clamp_min(0)).sum_to_size(positive.shape) if for_positive else None
        grad_negative = (grad * rows.clamp_max(0)).sum_to_size(negative.shape) if for_negative else None
        return grad_rows, grad_positive, grad_negative


class _Dot(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return contract(rows, (positive + negative) / 2) + contract(rows.abs(), (positive - negative) / 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        rows, positive, negative = ctx.saved_tensors
        if rows.shape[:2] == (1, 1):
            by_positive, by_negative = (grad.flatten(0, -2).mT @ side.flatten(0, -2) for side in (positive, negative))
            grad_rows = torch.where(rows > 0, by_positive, by_negative)
        else:
            grad_rows = (grad.unsqueeze(-1) * torch.where(rows > 0, positive, negative)).sum_to_size(rows.shape)
        _, for_positive, for_negative = ctx.needs_input_grad
        grad = grad.unsqueeze(-2)
        grad_positive = (grad @ rows.clamp_min(0)).sum_to_size(positive.shape) if for_positive else None
        grad_negative = (grad @ rows.clamp_max(0)).sum_to_size(negative.shape) if for_negative else None
        return grad_rows, grad_positive, grad_negative


def sign_split_product(rows: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """``max(rows, 0) * positive + min(rows, 0) * negative``.

    Args:
        rows: Coefficients, ``[B|1, P|1, S, K]``.
        positive: Factor of the positive coefficients, ``[B|1, P|1, 1, K]``.
        negative: Factor of the negative coefficients, of the same shape.

    Returns:
        ``[B, P, S, K]``.
    """
    return _Product.apply(rows, positive, negative)  # type: ignore[no-any-return]


def sign_split_dot(rows: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """:func:`sign_split_product`, summed over the last dimension: ``[B, P, S]``."""
    return _Dot.apply(rows, positive, negative)  # type: ignore[no-any-return]
