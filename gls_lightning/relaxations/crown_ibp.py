"""CROWN-IBP."""

from itertools import takewhile

from typing_extensions import override

from gls_lightning.bounds import BackSubstitution, Box
from gls_lightning.bounds.operations import Activation
from gls_lightning.relaxations.linear_relaxation import LinearRelaxation


class CROWNIBP(LinearRelaxation):
    """CROWN-IBP (Zhang et al., 2020): intervals for the inputs of activations, then one back-substitution.

    By default as in the paper: neither mixed nor intersected with the bounds of IBP.

    Args:
        lower_slope: Slope below an unstable ReLU: ``adaptive`` (1 where ``u > -l``, else 0: DeepPoly, CROWN-Ada),
            ``zero``, ``one``, or ``parallel`` to the chord above (Fast-Lin).
        intersect_ibp: Whether each bound is the better one of this relaxation's and of IBP's (auto_LiRPA's
            ``compare_crown_with_ibp``).
        memory_budget: GiB that the coefficients may take, gradients included. A batch that needs more is bounded in
            parts, each computed again in the backward pass.

    Example:
        The margin of this network is ``1 - |x|``, at least 0.7 for ``-0.1 <= x <= 0.3``: IBP finds 0.6.

        >>> import torch
        >>> from torch import nn
        >>> from gls_lightning.bounds import Box, margin_specification, trace
        >>> graph = trace(nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)), (1,))
        >>> tensors = {"0.weight": torch.tensor([[1.0], [-1.0]]), "0.bias": torch.zeros(2)}
        >>> tensors |= {"2.weight": torch.tensor([[0.0, 0.0], [1.0, 1.0]]), "2.bias": torch.tensor([1.0, 0.0])}
        >>> box = Box(torch.tensor([[-0.1]]), torch.tensor([[0.3]]))
        >>> margin = margin_specification(torch.tensor([0]), num_classes=2)
        >>> CROWNIBP()(graph, tensors, box, margin)
        tensor([[0.7000]])
    """

    @override
    def _relax(self, substitution: BackSubstitution) -> dict[str, Box]:
        graph = substitution.graph
        intervals = graph.intervals(substitution.tensors, substitution.input_box)
        before_activations = takewhile(lambda node: not isinstance(node.operation, Activation), graph.nodes)
        substitution.references |= {node.name: intervals[node.name].centre for node in before_activations}
        bounds = {node.name: intervals[node.inputs[0]] for node in graph.activations}
        for node in graph.activations:
            substitution.relax(node, bounds[node.name], self.lower_slope)
        return bounds
