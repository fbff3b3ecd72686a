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
        memory_budget: GiB that the coefficients may take, gradients included; ``auto`` is 0.4 of the memory of a GPU,
            and 4 on a CPU. A batch that needs more is bounded in parts, each computed again in the backward pass.

    Example:
        The larger of two bounds is never below IBP's own:

        >>> import torch
        >>> from gls_lightning.bounds import Box, trace
        >>> from gls_lightning.relaxations import IBP
        >>> network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> problem = trace(network, (3,)), network.state_dict(), Box(-torch.ones(5, 3), torch.ones(5, 3))
        >>> margin = torch.tensor([1.0, -1.0]).expand(5, 1, 2)
        >>> bool((CROWNIBP(intersect_ibp=True)(*problem, margin) >= IBP()(*problem, margin)).all())
        True
    """

    @override
    def _relax(self, substitution: BackSubstitution) -> dict[str, Box]:
        graph = substitution.graph
        intervals = substitution.intervals()
        before_activations = takewhile(lambda node: not isinstance(node.operation, Activation), graph.nodes)
        known = [node.name for node in before_activations if node.name in intervals]
        substitution.references |= {name: intervals[name].centre for name in known}
        bounds = {node.name: intervals[node.inputs[0]] for node in graph.activations}
        for node in graph.activations:
            substitution.relax(node, bounds[node.name], self.lower_slope)
        return bounds
