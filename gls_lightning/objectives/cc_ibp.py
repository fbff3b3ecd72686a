"""CC-IBP."""

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.objectives.expressive import ExpressiveLoss
from gls_lightning.objectives.losses import robust_cross_entropy


class CCIBP(ExpressiveLoss):
    """CC-IBP (De Palma et al., 2024): the cross-entropy of margins, alpha times the bounds plus 1 - alpha the attacked.

    The cross-entropy is convex, so the loss is at most that of ``MTLIBP`` with the same ``alpha``.

    The arguments are those of :class:`ExpressiveLoss`.
    """

    @override
    def combine(self, lower: Tensor, attacked: Tensor) -> Tensor:
        return robust_cross_entropy(torch.lerp(attacked, lower, self.alpha)).mean()
