"""What a relaxation makes of the ReLUs of a network."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.relaxations import Relaxation, number_that_fits


class ReLUStates(NamedTuple):
    """The fractions of ReLUs in each state, 0-dim; together 1.

    Attributes:
        unstable: Those whose input may have either sign, ``l < 0 < u``; also those whose bounds are not numbers.
        inactive: Those that are 0 in the whole box, ``u <= 0``.
        active: Those that pass their input on, ``l >= 0`` and not inactive.
    """

    unstable: Tensor
    inactive: Tensor
    active: Tensor


def relu_states(boxes: Iterable[Box]) -> ReLUStates:
    """Counts the states of all ReLUs whose inputs have these bounds, ``[B, *shape]`` a side; at least one box."""
    lower, upper = (torch.cat([side.flatten() for side in sides]) for sides in zip(*boxes, strict=True))
    inactive = upper <= 0
    active = (lower >= 0) & (upper > 0)
    return ReLUStates(*(state.float().mean() for state in (~(inactive | active), inactive, active)))


def preactivation_bounds(relaxation: Relaxation, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
    """The bounds of every ReLU's input, ``[B, *shape]`` a side, by the name of the ReLU's node.

    The batch is bounded in parts that fit the relaxation's memory budget.
    """
    count = relaxation.coefficients(graph, tensors, graph.num_outputs)
    size = max(1, number_that_fits(relaxation.memory_budget, count, box.lower.element_size()))
    sides = zip(*(side.split(size) for side in box), strict=True)
    parts = [relaxation.preactivation_bounds(graph, tensors, Box(*part)) for part in sides]
    return {name: Box(*map(torch.cat, zip(*(part[name] for part in parts), strict=True))) for name in graph.relus}
