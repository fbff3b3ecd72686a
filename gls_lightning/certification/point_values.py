"""Upper bounds of linear functions of a network's outputs at points."""

from fractions import Fraction
from math import inf

import torch
from torch import Tensor

from gls_lightning.bounds import Box, Graph, NotRationalError, OpaqueGraph, Rationals, Tensors, rounded_up
from gls_lightning.relaxations import IBP

_LARGEST = 2**16
"""Largest network, in elements of all nodes, that is evaluated in rational numbers; that takes some seconds."""

_OPAQUE = 1e-9
"""Allowance for the rounding of a network whose operations are not known, relative to its outputs and to 1."""


def values_from_above(
    graph: Graph, tensors: Tensors, points: Tensor, rows: Tensor, offsets: Tensor | None = None
) -> Tensor:
    """Bounds from above the exact values of linear functions, whatever the rounding.

    So a bound of at most 0 is a proof. If a value is at most 0 in floating point but its bound is not, it is computed
    again in rational numbers, provided that the network is small and rational. So equality is recognised, too.

    Args:
        graph: The network, rigorous.
        tensors: Its parameters and buffers, float64.
        points: The points, ``[B, *input]``.
        rows: The functions' coefficients, ``[B, m, K]``.
        offsets: Their constants, ``[B, m]``; by default 0.

    Returns:
        The bounds, ``[B, m]``.
    """
    offsets = rows.new_zeros(rows.shape[:2]) if offsets is None else offsets
    logits = graph(tensors, points)
    values = (rows @ logits.unsqueeze(-1)).squeeze(-1) + offsets
    if isinstance(graph, OpaqueGraph):
        return values + _OPAQUE * (1 + logits.abs().amax(1, keepdim=True))
    above = highest_values(graph, tensors, Box(points, points), rows, offsets)
    for sample in ((values <= 0) & (above > 0)).any(1).nonzero().flatten().tolist():
        exact = exact_values(graph, tensors, Rationals.of(points[sample]), rows[sample], offsets[sample])
        above[sample] = torch.minimum(above[sample], above.new_tensor(exact))
    return above


def highest_values(graph: Graph, tensors: Tensors, box: Box, rows: Tensor, offsets: Tensor) -> Tensor:
    """Bounds linear functions ``[B, m, K]`` with offsets ``[B, m]`` from above over boxes, by intervals; ``[B, m]``."""
    above = offsets - IBP()(graph, tensors, box, -rows)
    return above + torch.finfo(above.dtype).eps * above.abs()


def exact_values(graph: Graph, tensors: Tensors, point: Rationals, rows: Tensor, offsets: Tensor) -> list[float]:
    """Computes the values ``[m]`` at one point in rational numbers, rounded up; infinite if that is impossible."""
    if graph.size > _LARGEST:
        return [inf] * len(rows)
    try:
        outputs = graph.exactly(tensors, point).fractions()
    except NotRationalError:
        return [inf] * len(rows)
    return [
        rounded_up(sum((Fraction(c) * y for c, y in zip(row, outputs, strict=True)), Fraction(offset)))
        for row, offset in zip(rows.tolist(), offsets.tolist(), strict=True)
    ]
