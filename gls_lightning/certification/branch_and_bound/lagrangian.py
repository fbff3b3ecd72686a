"""Linear lower bounds of subdomains for given slopes and multipliers."""

import torch
from torch import Tensor

from gls_lightning.bounds import BackSubstitution, Box, Lines
from gls_lightning.bounds.operations import Activation
from gls_lightning.certification.branch_and_bound.subdomains import Subdomains, side_by_side


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
        self.lines = self._relaxed_relus()
        for line in self.lines.values():
            line.lower_offset.requires_grad_(with_gradients)
            line.upper_offset.requires_grad_(with_gradients)
        graph, tensors = subdomains.graph, subdomains.tensors
        self._start = BackSubstitution(
            graph, tensors, graph.exact_boxes(tensors, Box.from_centre(self.centre, subdomains.box.radius))
        )
        self._start.lines = self.lines
        self._start.reference(graph.output)

    def _relaxed_relus(self) -> dict[str, Lines]:
        lower, upper = map(self.subdomains.by_relu, self.subdomains.split_relu_box)
        lines = {}
        for name in lower:
            operation = self.subdomains.graph.by_name[name].operation
            assert isinstance(operation, Activation)
            lines[name] = operation.lines(Box(lower[name], upper[name]))
        return lines

    def __call__(self, shares: Tensor, multipliers: Tensor, weights: Tensor) -> Tensor:
        """Lower bounds of weighted sums of the functions, and so of the largest one.

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
        return bound + (weights * subdomains.offsets).sum(1)

    def coefficients(self) -> Tensor:
        """Gradient of the bounds in each ReLU's output, ``[B, N]``, after a backward pass."""
        offsets = [offset for line in self.lines.values() for offset in (line.lower_offset, line.upper_offset)]
        gradients = [torch.zeros_like(offset) if offset.grad is None else offset.grad for offset in offsets]
        below, above = (side_by_side(gradients[i::2], self.subdomains.offsets) for i in (0, 1))
        return below + above
