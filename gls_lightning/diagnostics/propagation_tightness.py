"""Exactness of a network's interval bounds, apart from the share of its activations."""

import torch
from torch import Tensor

from gls_lightning.bounds import Box, Graph, Node, Tensors
from gls_lightning.bounds.operations import Activation


def propagation_tightness(graph: Graph, tensors: Tensors, x: Tensor) -> Tensor:
    """Divides the width of the smallest output box by the width from interval propagation, in the linearised network.

    The network is linearised at each input: every activation multiplies by its derivative there. With the Jacobian
    ``J``, output k then has the width ``sum_j |J_kj|`` for an input box of width 1. Interval propagation finds the same
    sum for the product of the layers' absolute matrices (Mao et al., Understanding Certified Training with Interval
    Bound Propagation, 2024, Section 3). A ratio of 1 means that no two paths from an input to an output cancel, so
    interval bounds lose nothing between the layers; near 0 they lose nearly everything. For an output that no path
    reaches, as in a dead network, both widths are 0; its tightness is 1.

    Args:
        graph: The network.
        tensors: Its parameters and buffers.
        x: The inputs, ``[B, *input_shape]``.

    Returns:
        Ratios between 0 and 1, up to rounding, ``[B, K]``.

    Example:
        >>> from gls_lightning.bounds import trace
        >>> layers = [torch.nn.Linear(1, 2, bias=False), torch.nn.Linear(2, 2, bias=False)]
        >>> tensors = {"0.weight": torch.tensor([[3.0], [1.0]]), "1.weight": torch.tensor([[1.0, 1.0], [1.0, -1.0]])}
        >>> propagation_tightness(trace(torch.nn.Sequential(*layers), (1,)), tensors, torch.zeros(1, 1))
        tensor([[1.0000, 0.5000]])
    """
    tensors = {name: tensor.detach() for name, tensor in tensors.items()}
    exact, propagated = _exact_width(graph, tensors, x), _propagated_width(graph, tensors, x)
    return torch.where(propagated > 0, exact / propagated, 1)


def _exact_width(graph: Graph, tensors: Tensors, x: Tensor) -> Tensor:
    """Computes ``sum_j |J_kj|`` for each input, ``[B, K]``."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = graph(tensors, x).sum(0)
        rows = [torch.autograd.grad(logit, x, retain_graph=True)[0] for logit in logits]
    return torch.stack([row.flatten(1).abs().sum(1) for row in rows], dim=1)


def _propagated_width(graph: Graph, tensors: Tensors, x: Tensor) -> Tensor:
    """Propagates intervals of half-width 1; returns the half-widths of the logits, ``[B, K]``."""
    values = graph.propagate(x, lambda node, *inputs: node.operation.evaluate(tensors, *inputs))

    def radius(node: Node, *radii: Tensor) -> Tensor:
        if not isinstance(node.operation, Activation):
            return node.operation.interval(tensors, *(Box(-radius, radius) for radius in radii)).radius
        slope: Tensor = torch.func.grad(lambda v: node.operation.evaluate(tensors, v).sum())(values[node.inputs[0]])
        return radii[0] * slope.abs()

    return graph.propagate(torch.ones_like(x), radius)[graph.output]
