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


def _mean_and_deviation(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    return (positive + negative) / 2, (positive - negative) / 2


def _factor(rows: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """``positive`` where the rows are positive and ``negative`` where they are negative, ``[B, P, S, K]``.

    Several times faster than ``torch.where``, which does not vectorise over broadcast operands.
    """
    mean, deviation = _mean_and_deviation(positive, negative)
    return (rows.sign() * deviation).add_(mean)


class _SignSplit(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)


class _Product(_SignSplit):
    @staticmethod
    def forward(rows: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        mean, deviation = _mean_and_deviation(positive, negative)
        return (rows.abs() * deviation).add_(rows * mean)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        rows, positive, negative = ctx.saved_tensors
        grad_rows = (grad * _factor(rows, positive, negative)).sum_to_size(rows.shape)
        _, for_positive, for_negative = ctx.needs_input_grad
        grad_positive = (grad * rows.clamp_min(0)).sum_to_size(positive.shape) if for_positive else None
        grad_negative = (grad * rows.clamp_max(0)).sum_to_size(negative.shape) if for_negative else None
        return grad_rows, grad_positive, grad_negative


class _Dot(_SignSplit):
    @staticmethod
    def forward(rows: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        mean, deviation = _mean_and_deviation(positive, negative)
        return contract(rows, mean) + contract(rows.abs(), deviation)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        rows, positive, negative = ctx.saved_tensors
        _, for_positive, for_negative = ctx.needs_input_grad
        upright, grad = grad.unsqueeze(-1), grad.unsqueeze(-2)
        grad_positive = (grad @ rows.clamp_min(0)).sum_to_size(positive.shape) if for_positive else None
        grad_negative = (grad @ rows.clamp_max(0)).sum_to_size(negative.shape) if for_negative else None
        if rows.shape[:2] == (1, 1):
            mean, deviation = _mean_and_deviation(positive, negative)
            grad = grad.flatten(0, -2).mT
            grad_rows = grad @ mean.flatten(0, -2) + rows.sign() * (grad @ deviation.flatten(0, -2))
        else:
            grad_rows = (upright * _factor(rows, positive, negative)).sum_to_size(rows.shape)
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
