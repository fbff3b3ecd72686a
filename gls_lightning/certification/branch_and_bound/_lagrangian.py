"""Linear lower bounds of subdomains for given slopes and multipliers."""

import torch
from torch import Tensor

from gls_lightning.bounds import INPUT, BackSubstitution, Box, gamma
from gls_lightning.certification.branch_and_bound._subdomains import Subdomains, side_by_side


class Lagrangian:
    """Lower bounds by back-substitution with the splits as Lagrangian constraints (beta-CROWN, Wang et al., 2021).

    Args:
        subdomains: What is bounded.
        with_gradients: Whether the bounds can be differentiated in ``centre`` and in the offsets of ``lines``.

    Attributes:
        centre: Centres of the input boxes, ``[B, *input]``; the gradient in them is that of the linear lower bound.
        lines: The lines around each ReLU by its name, their lower slopes DeepPoly's.
    """

    def __init__(self, subdomains: Subdomains, *, with_gradients: bool = False) -> None:
        self.subdomains = subdomains
        self.centre = subdomains.box.centre.requires_grad_(with_gradients)
        graph, tensors = subdomains.graph, subdomains.tensors
        radius = subdomains.box.radius
        if graph.rigorous:  # centre and radius are rounded
            radius = radius + torch.finfo(radius.dtype).eps * sum(side.abs() for side in subdomains.box)
        box = Box.from_centre(self.centre, radius)
        self._start = BackSubstitution(graph, tensors, graph.exact_boxes(tensors, {INPUT: box}))
        lower, upper = map(subdomains.by_relu, subdomains.split_relu_box)
        for name in lower:
            self._start.relax(graph.by_name[name], Box(lower[name], upper[name]))
        self.lines = self._start.lines
        for line in self.lines.values():
            line.lower_offset.requires_grad_(with_gradients)
            line.upper_offset.requires_grad_(with_gradients)
        self._start.reference(graph.output)

    def __call__(self, shares: Tensor, multipliers: Tensor, weights: Tensor) -> Tensor:
        """Bounds weighted sums of the functions, and so the largest one, from below.

        Args:
            shares: Slopes of the lines below the unstable ReLUs, between 0 and 1, ``[B, N]``.
            multipliers: Those of the splits, at least 0, ``[B, N]``; they count only where there is a split.
            weights: Those of the functions, at least 0 and with sum 1, ``[B, m]``.

        Returns:
            ``[B]``.
        """
        subdomains = self.subdomains
        unstable, below = subdomains.by_relu(subdomains.unstable), subdomains.by_relu(shares)
        slopes = {n: torch.where(unstable[n], below[n], line.lower_slope) for n, line in self.lines.items()}
        substitution = self._start.with_lower_slopes(slopes)
        substitution.multipliers = subdomains.by_relu(-multipliers * subdomains.signs)
        bound = substitution.specification_bounds(weights.unsqueeze(1) @ subdomains.rows).squeeze(1)
        offsets = weights * subdomains.offsets
        bound = bound + offsets.sum(1)
        return bound - self._rounding(weights, bound) if subdomains.graph.rigorous else bound

    @torch.no_grad()
    def _rounding(self, weights: Tensor, bound: Tensor) -> Tensor:
        """Bounds the loss of the weighted sums of the functions to rounding, ``[B]``."""
        subdomains = self.subdomains
        coefficients = (weights.unsqueeze(1) @ subdomains.rows.abs()).sum((1, 2))
        offsets = (weights * subdomains.offsets.abs()).sum(1)
        few_roundings = gamma(weights.shape[1] + 8, bound.dtype)
        return coefficients * self._start.error(subdomains.graph.output).flatten(1).amax(1) + few_roundings * (
            offsets + bound.abs()
        )

    def coefficients(self) -> Tensor:
        """Returns the gradient of the bounds in each ReLU's output, ``[B, N]``, after a backward pass."""
        offsets = [offset for line in self.lines.values() for offset in (line.lower_offset, line.upper_offset)]
        gradients = [torch.zeros_like(offset) if offset.grad is None else offset.grad for offset in offsets]
        below, above = (side_by_side(gradients[i::2], self.subdomains.offsets) for i in (0, 1))
        return below + above
