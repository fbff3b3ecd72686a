"""DeepPoly."""

from gls_lightning.bounds import BackSubstitution, Box
from gls_lightning.relaxations.linear_relaxation import LinearRelaxation


class DeepPoly(LinearRelaxation):
    """DeepPoly (Singh et al., 2019), the same as CROWN (Zhang et al., 2018): a back-substitution for every ReLU input.

    Textbook rules: every ReLU input is bounded in full and not intersected with IBP; the lower slope of an unstable
    ReLU is 1 where ``u > -l`` and 0 otherwise (paper, Eq. 5).

    Args:
        memory_budget: GiB that the coefficients may take, gradients included. A batch that needs more is bounded in
            parts, each computed again in the backward pass.
    """

    def _relax(self, substitution: BackSubstitution) -> dict[str, Box]:
        bounds = {}
        for node in substitution.graph.activations:
            bounds[node.name] = substitution.bounds(node.inputs[0])
            substitution.relax(node, bounds[node.name])
        return bounds
