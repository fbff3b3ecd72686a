"""Products that treat positive and negative coefficients differently, the inner loop of every linear bound.

A lower bound of ``a * v`` takes the lower line of ``v`` where ``a`` is positive and its upper line where ``a`` is
negative. Written with plain tensor operations, autograd keeps four tensors of the size of the coefficients for it;
these functions keep the coefficients alone.
"""

from typing import Any

import torch
from torch import Tensor


class _SignSplitProduct(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return rows * torch.where(rows > 0, positive, negative)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, positive, negative = ctx.saved_tensors
        is_positive = rows > 0
        grad_rows = (grad * torch.where(is_positive, positive, negative)).sum_to_size(rows.shape)
        product = grad * rows
        grad_both = product.sum_to_size(positive.shape)
        grad_positive = torch.where(is_positive, product, 0).sum_to_size(positive.shape)
        return grad_rows, grad_positive, grad_both - grad_positive


class _SignSplitDot(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        centre, radius = (positive + negative) / 2, (negative - positive) / 2
        return contract(rows, centre) - contract(rows.abs(), radius)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        rows, positive, negative = ctx.saved_tensors
        grad = grad.unsqueeze(-1)
        is_positive = rows > 0
        grad_rows = (grad * torch.where(is_positive, positive, negative)).sum_to_size(rows.shape)
        if not (ctx.needs_input_grad[1] or ctx.needs_input_grad[2]):
            return grad_rows, None, None
        product = grad * rows
        grad_positive = torch.where(is_positive, product, 0).sum_to_size(positive.shape)
        return grad_rows, grad_positive, product.sum_to_size(negative.shape) - grad_positive


def contract(rows: Tensor, vector: Tensor) -> Tensor:
    """Sums ``rows [B|1, P|1, S, K] * vector [B|1, P|1, 1, K]`` over K; one matrix product where the rows are shared."""
    if rows.shape[:2] == (1, 1):
        return torch.nn.functional.linear(vector.squeeze(-2), rows[0, 0])
    return (rows @ vector.mT).squeeze(-1)


def sign_split_product(rows: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """``max(rows, 0) * positive + min(rows, 0) * negative``.

    Args:
        rows: Coefficients, ``[B|1, P|1, S, K]``.
        positive: Factor of the positive coefficients, ``[B|1, P|1, 1, K]``.
        negative: Factor of the negative coefficients, of the same shape.

    Returns:
        ``[B, P, S, K]``.
    """
    return _SignSplitProduct.apply(rows, positive, negative)  # type: ignore[no-any-return, no-untyped-call]


def sign_split_dot(rows: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """:func:`sign_split_product`, summed over the last dimension: ``[B, P, S]``."""
    return _SignSplitDot.apply(rows, positive, negative)  # type: ignore[no-any-return, no-untyped-call]
