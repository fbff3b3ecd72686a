"""Statistics of a network's ReLUs, given a relaxation's bounds."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.relaxations import Relaxation, gibibytes, number_that_fits


class ReLUStates(NamedTuple):
    """The fractions of ReLUs in each state, 0-dim; together 1.

    Attributes:
        unstable: ReLUs whose input may have either sign, ``l < 0 < u``, or has bounds that are not numbers.
        inactive: ReLUs that are 0 in the whole box, ``u <= 0``.
        active: ReLUs that pass their input on, ``l >= 0`` and not inactive.
    """

    unstable: Tensor
    inactive: Tensor
    active: Tensor


def relu_states(boxes: Iterable[Box]) -> ReLUStates:
    """Counts the states of all ReLUs, given boxes of their inputs, each side ``[B, *shape]``; at least one box.

    Example:
        >>> relu_states([Box(torch.tensor([[-1.0, -2.0, 1.0, -1.0]]), torch.tensor([[1.0, -1.0, 2.0, 3.0]]))])
        ReLUStates(unstable=tensor(0.5000), inactive=tensor(0.2500), active=tensor(0.2500))
    """
    lower, upper = (torch.cat([side.flatten() for side in sides]) for sides in zip(*boxes, strict=True))
    inactive = upper <= 0
    active = (lower >= 0) & (upper > 0)
    return ReLUStates(*(state.float().mean() for state in (~(inactive | active), inactive, active)))


def preactivation_bounds(relaxation: Relaxation, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
    """Bounds every ReLU's input; boxes by the names of the ReLUs' nodes, each side ``[B, *shape]``.

    The batch is bounded in parts that fit the relaxation's memory budget.
    """
    count = relaxation.coefficients(graph, tensors, graph.num_outputs)
    budget = gibibytes(relaxation.memory_budget, box.lower.device)
    size = max(1, number_that_fits(budget, count, box.lower.element_size()))
    sides = zip(*(side.split(size) for side in box), strict=True)
    parts = [relaxation.preactivation_bounds(graph, tensors, Box(*part)) for part in sides]
    return {name: Box(*map(torch.cat, zip(*(part[name] for part in parts), strict=True))) for name in graph.relus}
