"""How exact interval bounds of a network are, apart from what its activations add."""

import torch
from torch import Tensor

from gls_lightning.bounds import Box, Graph, Node, Tensors
from gls_lightning.bounds.operations import Activation


def propagation_tightness(graph: Graph, tensors: Tensors, x: Tensor) -> Tensor:
    """Width of the smallest output box over the width that interval propagation finds, for the linearised network.

    The network is replaced by its linearisation at each input, in which every activation multiplies by its derivative
    there. Over an input box of any radius its outputs have the width ``sum_j |J_kj|`` with the Jacobian ``J``, and by
    interval propagation that of the product of the absolute matrices of its layers (Mao et al., Understanding Certified
    Training with Interval Bound Propagation, 2024, Section 3). 1 says that no two paths from an input to an output
    cancel, so interval bounds lose nothing between the layers; near 0 they lose nearly everything. An output that no
    path reaches, as in a dead network, has width 0 either way: nothing is lost, and its tightness is 1.

    Args:
        graph: The network.
        tensors: Its parameters and buffers.
        x: The inputs, ``[B, *input_shape]``.

    Returns:
        Between 0 and 1, up to rounding; ``[B, K]``.
    """
    tensors = {name: tensor.detach() for name, tensor in tensors.items()}
    exact, propagated = _exact_width(graph, tensors, x), _propagated_width(graph, tensors, x)
    return torch.where(propagated > 0, exact / propagated, 1)


def _exact_width(graph: Graph, tensors: Tensors, x: Tensor) -> Tensor:
    """``sum_j |J_kj|`` for each input, ``[B, K]``."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = graph(tensors, x).sum(0)
        rows = [torch.autograd.grad(logit, x, retain_graph=True)[0] for logit in logits]
    return torch.stack([row.flatten(1).abs().sum(1) for row in rows], dim=1)


def _propagated_width(graph: Graph, tensors: Tensors, x: Tensor) -> Tensor:
    """Half the width of the logits, by intervals, where that of the inputs is 1; ``[B, K]``."""
    values = graph.propagate(x, lambda node, *inputs: node.operation.evaluate(tensors, *inputs))

    def radius(node: Node, *radii: Tensor) -> Tensor:
        if not isinstance(node.operation, Activation):
            return node.operation.interval(tensors, *(Box(-radius, radius) for radius in radii)).radius
        slope: Tensor = torch.func.grad(lambda v: node.operation.evaluate(tensors, v).sum())(values[node.inputs[0]])
        return radii[0] * slope.abs()

    return graph.propagate(torch.ones_like(x), radius)[graph.output]
