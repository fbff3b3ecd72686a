"""Values of linear functions of a network's outputs at points, from above."""

from fractions import Fraction
from math import inf

import torch
from torch import Tensor

from gls_lightning.bounds import Box, Graph, NotRationalError, OpaqueGraph, Rationals, Tensors, rounded_up
from gls_lightning.relaxations import IBP

_LARGEST = 2**16
"""Elements of all nodes of a network together, up to which a point is evaluated in rational numbers: some seconds."""

_OPAQUE = 1e-9
"""Rounding error that is granted to a network whose operations are not known, relative to its outputs and to 1."""


def values_from_above(
    graph: Graph, tensors: Tensors, points: Tensor, rows: Tensor, offsets: Tensor | None = None
) -> Tensor:
    """Bounds from above the values that linear functions take over the reals, whatever rounding does.

    A function that is at most 0 in floating point, but not by more than rounding, is evaluated in rational numbers if
    the network is a small one that has them. So a number of at most 0 is a proof, and equality is recognised.

    Args:
        graph: The network, rigorous.
        tensors: Its parameters and buffers, float64.
        points: The points, ``[B, *input]``.
        rows: The functions' coefficients, ``[B, m, K]``.
        offsets: Their constants, ``[B, m]``; 0 if absent.

    Returns:
        ``[B, m]``.
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
    """Upper bounds ``[B, m]`` of linear functions ``[B, m, K]`` with constants ``[B, m]`` over boxes, by intervals."""
    above = offsets - IBP()(graph, tensors, box, -rows)
    return above + torch.finfo(above.dtype).eps * above.abs()


def exact_values(graph: Graph, tensors: Tensors, point: Rationals, rows: Tensor, offsets: Tensor) -> list[float]:
    """The values ``[m]`` at one point, rounded up; infinite where rational numbers do not help."""
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
