"""Products that treat positive and negative coefficients differently, in the form that suits the device."""

from torch import Tensor

from gls_lightning.bounds.kernels.choice import kernels_for
from gls_lightning.bounds.kernels.plain_forms import PlainAbsoluteDot, PlainRelax


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
    if kernels := kernels_for(rows):
        return kernels.relax(rows, slope, narrowing, gap)
    return PlainRelax.apply(rows, slope, narrowing, gap)  # type: ignore[no-any-return]


def absolute_dot(rows: Tensor, radius: Tensor) -> Tensor:
    """Sums ``|rows| [B|1, P|1, S, K] * radius [B|1, P|1, 1, K]`` over ``K``: ``[B, P, S]``."""
    shared = rows.shape[:2] == (1, 1)  # one matrix product in the plain form
    if not shared and (kernels := kernels_for(rows)):
        return kernels.absolute_dot(rows, radius)
    return PlainAbsoluteDot.apply(rows, radius)  # type: ignore[no-any-return]
