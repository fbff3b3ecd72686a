"""Loss fusion: the whole robust cross-entropy as one linear function of the logits."""

from typing import NamedTuple

import torch
from torch import Tensor

from gls_lightning.objectives.losses import robust_cross_entropy


class FusedLoss(NamedTuple):
    """A linear function above the sum in the cross-entropy (Xu et al., 2020, "Automatic Perturbation Analysis", 3.3).

    It is made from intervals of the margins ``d_i``. For all logits ``z`` whose margins lie in these,
    ``1 + sum_i exp(-d_i) <= exp(shift) * (constant - row . z)``. So one lower bound, that of ``row . z`` over a box,
    gives an upper bound of the worst cross-entropy in the box.

    Attributes:
        row: Specification of the linear function, ``[B, 1, K]``; its weight of each margin lies in [0, 1].
        constant: The constant, ``[B]``.
        shift: Largest exponent, taken out so that nothing overflows, ``[B]``; at least 0 and without gradient.
        floor: Cross-entropy of the largest margins, ``[B]``; the worst cross-entropy cannot be smaller.
    """

    row: Tensor
    constant: Tensor
    shift: Tensor
    floor: Tensor

    @classmethod
    def between(cls, lower: Tensor, upper: Tensor, margins: Tensor) -> "FusedLoss":
        """Replaces each ``exp(-d_i)`` by its chord between two bounds of the margin.

        Args:
            lower: Lower bounds of the margins, ``[B, S]``.
            upper: Upper bounds of the margins, ``[B, S]``; where they equal the lower ones, the chord is the tangent.
            margins: The margins as functions of the logits, ``[B, S, K]``.
        """
        # The bound does not depend on the shift, so neither does its gradient.
        shift = (-lower).amax(1).clamp_min(0).detach()
        left_end = torch.exp(-lower - shift[:, None])
        wide = upper > lower
        width = torch.where(wide, upper - lower, 1)
        descent = left_end * torch.where(wide, -torch.expm1(-width) / width, 1)
        row = torch.einsum("bs,bsk->bk", descent, margins)[:, None]
        constant = torch.exp(-shift) + (left_end + descent * lower).sum(1)
        return cls(row, constant, shift, robust_cross_entropy(upper))

    def cross_entropy(self, row_lower: Tensor) -> Tensor:
        """Bounds the worst cross-entropy from above, ``[B]``, given a lower bound of the row, ``[B, 1]``.

        The chords end on the exponentials, so the argument of the logarithm is at least ``exp(floor - shift)``. Only
        rounding can make it smaller, where the shift is large and the relaxation reaches the largest margins.
        """
        rest = self.constant - row_lower.squeeze(1)
        return torch.maximum(self.shift + rest.clamp_min(torch.finfo(rest.dtype).tiny).log(), self.floor)
