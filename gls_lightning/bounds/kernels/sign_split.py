"""Products that treat positive and negative coefficients differently, in the form that suits the device."""

import torch
from torch import Tensor

from gls_lightning.bounds._tensor_float import TensorFloat32
from gls_lightning.bounds.kernels.banded_product import MatrixBand
from gls_lightning.bounds.kernels.choice import kernels_for
from gls_lightning.bounds.kernels.plain_forms import plain_absolute_dot, plain_relax, plain_relaxed_product


def relax(rows: Tensor, slope: Tensor, narrowing: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
    """Substitutes the line below for positive coefficients and the line above for negative ones.

    Args:
        rows: Coefficients, ``[B|1, P|1, S, K]``.
        slope: Slope of the line above that each row reads, ``[B|1, P|1, 1, K]``.
        narrowing: Slope of the line below less that of the line above, likewise.
        gap: Distance between the lines at the reference, likewise.

    Returns:
        Coefficients ``[B, P, S, K]`` of the lines' argument, and a constant ``[B, P, S]``.
    """
    if kernels := kernels_for("relax", rows):
        return kernels.relax(rows, slope, narrowing, gap)  # type: ignore[no-any-return]
    return plain_relax(rows, slope, narrowing, gap)


def absolute_dot(rows: Tensor, radius: Tensor) -> Tensor:
    """Sums ``|rows| [B|1, P|1, S, K] * radius [B|1, P|1, 1, K]`` over ``K``: ``[B, P, S]``."""
    shared = rows.shape[:2] == (1, 1)  # one matrix product in the plain form
    if not shared and (kernels := kernels_for("absolute_dot", rows)):
        return kernels.absolute_dot(rows, radius)  # type: ignore[no-any-return]
    return plain_absolute_dot(rows, radius)


def relaxed_product(
    rows: Tensor, slope: Tensor, narrowing: Tensor, gap: Tensor, matrix: Tensor, band: MatrixBand
) -> tuple[Tensor, Tensor]:
    """Relaxes rows and multiplies them by a matrix; on CUDA without writing the relaxed ones.

    Args:
        rows: Coefficients, ``[B|1, P|1, S, K]``.
        slope: See :func:`relax`.
        narrowing: See :func:`relax`.
        gap: See :func:`relax`.
        matrix: What the relaxed rows are multiplied by, ``[K, L]``.
        band: The part of the matrix that is not 0.

    Returns:
        The product ``[B, P, S, L]``, and the constant ``[B, P, S]`` of :func:`relax`.
    """
    if rows.dtype == torch.float32 and (kernels := kernels_for("relaxed_product", rows)):
        precision = "tf32" if TensorFloat32.current().products else "ieee"
        return kernels.relaxed_product(rows, slope, narrowing, gap, matrix, band, precision)  # type: ignore[no-any-return]
    return plain_relaxed_product(rows, slope, narrowing, gap, matrix, band)
