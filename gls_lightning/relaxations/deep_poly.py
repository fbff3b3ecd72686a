"""DeepPoly."""

from collections.abc import Mapping
from typing import Literal

from typing_extensions import override

from gls_lightning.arguments import require
from gls_lightning.bounds import BackSubstitution, Box, LowerSlope, Node
from gls_lightning.bounds.operations import Activation
from gls_lightning.relaxations.linear_relaxation import LinearRelaxation
from gls_lightning.relaxations.memory import MemoryBudget


class DeepPoly(LinearRelaxation):
    """DeepPoly (Singh et al., 2019), the same as CROWN (Zhang et al., 2018): back-substitution throughout.

    The input of every activation is bounded by a back-substitution of its own. By default the textbook's rules hold:
    bounds are not intersected with IBP's, and the lower slope of an unstable ReLU is 1 where ``u > -l`` and 0 otherwise
    (paper, Eq. 5).

    Args:
        lower_slope: Slope below an unstable ReLU: ``adaptive`` (1 where ``u > -l``, else 0: DeepPoly, CROWN-Ada),
            ``zero``, ``one``, or ``parallel`` to the chord above (Fast-Lin).
        intersect_ibp: Whether each bound, those of the inputs of activations included, is the better one of this
            relaxation's and of IBP's (auto_LiRPA's ``compare_crown_with_ibp``).
        skip_ibp_stable: Whether ReLUs that IBP proves stable keep its bounds and only the others are bounded by
            back-substitution: sound, a slightly different relaxation, and far cheaper where few ReLUs are unstable.
            ``auto`` is the same relaxation, but bounds all inputs of a layer and then puts IBP's in place where more
            than half of its ReLUs are unstable, which is faster there; it also does so under ``torch.func.vmap``,
            where ``true`` does not work.
        memory_budget: GiB that the coefficients may take, gradients included; ``auto`` is 0.4 of the memory of a GPU,
            and 4 on a CPU. A batch that needs more is bounded in parts, each computed again in the backward pass.

    Example:
        The margin of this network is ``1 - |x|``, at least 0.7 for ``-0.1 <= x <= 0.3``:

        >>> import torch
        >>> from torch import nn
        >>> from gls_lightning.bounds import Box, margin_specification, trace
        >>> graph = trace(nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)), (1,))
        >>> tensors = {"0.weight": torch.tensor([[1.0], [-1.0]]), "0.bias": torch.zeros(2)}
        >>> tensors |= {"2.weight": torch.tensor([[0.0, 0.0], [1.0, 1.0]]), "2.bias": torch.tensor([1.0, 0.0])}
        >>> box = Box(torch.tensor([[-0.1]]), torch.tensor([[0.3]]))
        >>> margin = margin_specification(torch.tensor([0]), num_classes=2)
        >>> DeepPoly()(graph, tensors, box, margin)
        tensor([[0.7000]])
        >>> DeepPoly().preactivation_bounds(graph, tensors, box)["1"]
        Box(lower=tensor([[-0.1000, -0.3000]]), upper=tensor([[0.3000, 0.1000]]))
    """

    def __init__(
        self,
        *,
        lower_slope: LowerSlope = "adaptive",
        intersect_ibp: bool = False,
        skip_ibp_stable: bool | Literal["auto"] = False,
        memory_budget: MemoryBudget = "auto",
    ) -> None:
        super().__init__(lower_slope=lower_slope, intersect_ibp=intersect_ibp, memory_budget=memory_budget)
        known = skip_ibp_stable in (False, True, "auto")
        require(known, "skip_ibp_stable", skip_ibp_stable, "true, false or 'auto'")
        self.skip_ibp_stable = skip_ibp_stable
        self.vectorisable = skip_ibp_stable is not True

    @override
    def _relax(self, substitution: BackSubstitution) -> dict[str, Box]:
        graph, bounds = substitution.graph, {}
        with_intervals = self.intersect_ibp or self.skip_ibp_stable
        intervals = substitution.intervals() if with_intervals else {}
        for node in graph.activations:
            box = self._bounds(substitution, node, intervals)
            if self.intersect_ibp:
                box = box.intersection(intervals[node.inputs[0]])
            bounds[node.name] = box
            substitution.relax(node, box, self.lower_slope)
        return bounds

    def _bounds(self, substitution: BackSubstitution, node: Node, intervals: Mapping[str, Box]) -> Box:
        (source,) = node.inputs
        if not (self.skip_ibp_stable and substitution.lines):  # the first activation's inputs cost next to nothing
            return substitution.bounds(source)
        assert isinstance(node.operation, Activation)
        *_, exact = node.operation.exact_line(intervals[source])
        largest_share = _LARGEST_SHARE if self.skip_ibp_stable == "auto" else 1.0
        return substitution.bounds_where(~exact, source, intervals[source], largest_share)


_LARGEST_SHARE = 0.5
"""Share of unstable activations of a layer beyond which bounding all of them is faster (measured: benchmarks/)."""
