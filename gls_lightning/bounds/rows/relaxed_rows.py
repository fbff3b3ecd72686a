"""Rows of an activation's output as rows of its input."""

import torch
from torch import Tensor

from gls_lightning.bounds.kernels import contract, relax
from gls_lightning.bounds.lines import Band
from gls_lightning.bounds.rows.factored_rows import FactoredRows
from gls_lightning.bounds.rows.rows import Rows


def relax_rows(rows: Rows, band: Band) -> tuple[Rows, Tensor]:
    """Puts the lines around an activation in its place.

    Args:
        rows: Rows of the activation's output.
        band: The activation's lines around the reference.

    Returns:
        Rows of the activation's input, no longer mirrored, and constants ``[B, P, S]``, twice ``S`` where ``rows`` are
        mirrored. Their sum is a lower bound of ``rows``.
    """
    slope, narrowing, gap = rows.read(band.slope), rows.read(band.narrowing), rows.read(band.gap)
    if rows.functions.mirrored:
        constants = contract(rows.values.clamp_min(0), gap), contract(-rows.values.clamp_max(0), gap)
        return FactoredRows(rows, slope + narrowing / 2, narrowing / 2), -torch.cat(constants, -1)
    values, constant = relax(rows.values, slope, narrowing, gap)
    return rows.with_values(values, rows.functions), constant
