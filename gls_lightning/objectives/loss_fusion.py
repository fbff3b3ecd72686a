"""Loss fusion: the whole robust cross-entropy as one linear function of the logits."""

from typing import NamedTuple

import torch
from torch import Tensor

from gls_lightning.objectives.losses import robust_cross_entropy


class FusedLoss(NamedTuple):
    """A line above the cross-entropy's sum (Xu et al., 2020, "Automatic Perturbation Analysis", section 3.3).

    For every logit vector ``z`` whose margins ``d_i`` lie in the intervals that the line was made from,
    ``1 + sum_i exp(-d_i) <= exp(shift) * (constant - row . z)``. A lower bound of ``row . z`` over a box therefore
    gives an upper bound of the worst cross-entropy in it, for the price of one margin.

    Attributes:
        row: Specification of the linear function, ``[B, 1, K]``; all its weights of margins lie in [0, 1].
        constant: ``[B]``.
        shift: Largest exponent, taken out so that nothing overflows, ``[B]``; at least 0 and without gradient.
        floor: Cross-entropy of the largest margins, ``[B]``, which no bound of the worst one can be below.
    """

    row: Tensor
    constant: Tensor
    shift: Tensor
    floor: Tensor

    @classmethod
    def between(cls, lower: Tensor, upper: Tensor, margins: Tensor) -> "FusedLoss":
        """The line made of the chords of ``exp(-d_i)`` between bounds of each margin.

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
        """An upper bound of the worst cross-entropy, ``[B]``, given a lower bound of the row, ``[B, 1]``.

        A true lower bound of the row leaves under the logarithm at least ``exp(floor - shift)``, because the chords end
        on the exponentials. Only rounding can go below: where the shift is large and a relaxation finds the largest
        margins that the intervals allow.
        """
        rest = self.constant - row_lower.squeeze(1)
        return torch.maximum(self.shift + rest.clamp_min(torch.finfo(rest.dtype).tiny).log(), self.floor)
