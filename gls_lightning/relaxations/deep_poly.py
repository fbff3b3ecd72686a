"""DeepPoly."""

from typing_extensions import override

from gls_lightning.bounds import BackSubstitution, Box
from gls_lightning.relaxations.linear_relaxation import LinearRelaxation


class DeepPoly(LinearRelaxation):
    """DeepPoly (Singh et al., 2019), the same as CROWN (Zhang et al., 2018): a back-substitution for every ReLU input.

    By default the textbook's rules: every ReLU input is bounded in full and not intersected with IBP; the lower slope
    of an unstable ReLU is 1 where ``u > -l`` and 0 otherwise (paper, Eq. 5).

    Args:
        lower_slope: Slope below an unstable ReLU: ``adaptive`` (1 where ``u > -l``, else 0: DeepPoly, CROWN-Ada),
            ``zero``, ``one``, or ``parallel`` to the chord above (Fast-Lin).
        intersect_ibp: Whether each bound, those of the ReLU inputs included, is the better one of this relaxation's
            and of IBP's (auto_LiRPA's ``compare_crown_with_ibp``).
        memory_budget: GiB that the coefficients may take, gradients included. A batch that needs more is bounded in
            parts, each computed again in the backward pass.
    """

    @override
    def _relax(self, substitution: BackSubstitution) -> dict[str, Box]:
        graph, bounds = substitution.graph, {}
        intervals = graph.intervals(substitution.tensors, substitution.input_box) if self.intersect_ibp else {}
        for node in graph.activations:
            box = substitution.bounds(node.inputs[0])
            if self.intersect_ibp:
                box = box.intersection(intervals[node.inputs[0]])
            bounds[node.name] = box
            substitution.relax(node, box, self.lower_slope)
        return bounds
