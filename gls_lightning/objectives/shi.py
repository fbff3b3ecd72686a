"""The regularisers of Shi et al. (2021)."""

from collections.abc import Collection
from math import inf

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.arguments import require
from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.objectives.objective import Batch
from gls_lightning.objectives.regularizer import Regularizer


class ShiRegularizer(Regularizer):
    """A penalty on loose bounds and on unbalanced neurons while epsilon grows (Shi et al., 2021).

    The regularisers of "Fast Certified Robust Training with Short Warmup", as in the authors' and CTBench's code: the
    mean over the ReLUs of two terms. IBP gives bounds [l, u] of each ReLU's input, with centres c and mean half-width
    t; t0 is the mean half-width of the box behind the normalisation.

    - Tightness: relu(tau - t0 / t) / tau.
    - Balance: relu(tau - r) / tau, for two ratios r between the active neurons (l > 0) and the inactive ones (u < 0),
      the smaller sum over the larger one: the sums of |c|, and the sums of (c - mean c)^2. A ReLU without neurons of
      both kinds adds 0.

    Means and sums are over the neurons of all samples. The whole term has the factor 1 - epsilon / target, so at the
    target it is 0 and costs nothing. Radii below 1e-6 count as 1e-6. A network without ReLUs has no penalty.

    Args:
        weight: Factor; 0.5 in the literature, 0.2 on TinyImageNet.
        tolerance: tau; ratios from this on are good enough.
        tightness: Whether to penalise loose bounds.
        relu_balance: Whether to penalise unbalanced neurons.

    Raises:
        ConfigurationError: If ``weight`` is negative, ``tolerance`` is not positive, or one of them is not finite.
    """

    name = "shi"
    uses_batch_statistics = True
    fades_with_epsilon = True

    def __init__(
        self, *, weight: float = 0.5, tolerance: float = 0.5, tightness: bool = True, relu_balance: bool = True
    ) -> None:
        super().__init__(weight=weight)
        require(0 < tolerance < inf, "tolerance", tolerance, "a positive, finite number")
        self.tolerance = tolerance
        self.tightness = tightness
        self.relu_balance = relu_balance

    @override
    def __call__(self, graph: Graph, tensors: Tensors, batch: Batch, trainable: Collection[str]) -> Tensor:
        total = batch.inputs.new_zeros(())
        if batch.at_target or not graph.relus:
            return total
        box = Box.around(batch.inputs, batch.epsilon.clamp_min(_SMALLEST_RADIUS))
        bounds = graph.intervals(tensors, box, last_layer=False)
        *_, normalised = graph.exact_boxes(tensors, bounds).values()
        width = normalised.radius.mean()
        for name in graph.relus:
            before = bounds[graph.by_name[name].inputs[0]]
            if self.tightness:
                total = total + self._shortfall(width / before.radius.mean().clamp_min(_SMALLEST))
            if self.relu_balance:
                total = total + self._imbalance(before)
        share = self.weight * (1 - batch.progress) / len(graph.relus)
        return (share.to(total.dtype) if isinstance(share, Tensor) else share) * total

    def _imbalance(self, before: Box) -> Tensor:
        centre, active, inactive = before.centre, before.lower > 0, before.upper < 0
        distance = (centre - centre.mean()).square()
        both = active.any() & inactive.any()
        ratios = [
            _smaller_ratio(above.where(active, 0).sum(), below.where(inactive, 0).sum())
            for above, below in ((centre, -centre), (distance, distance))
        ]
        return torch.where(both, self._shortfall(ratios[0]) + self._shortfall(ratios[1]), 0)

    def _shortfall(self, ratio: Tensor) -> Tensor:
        return torch.relu(self.tolerance - ratio) / self.tolerance


_SMALLEST_RADIUS = 1e-6
_SMALLEST = 1e-12


def _smaller_ratio(a: Tensor, b: Tensor) -> Tensor:
    """Returns the smaller of a / b and b / a for non-negative numbers; value and gradient are finite even at 0."""
    larger = torch.maximum(a, b)
    return torch.minimum(a, b) / torch.where(larger > 0, larger, 1)
