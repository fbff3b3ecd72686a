"""MTL-IBP."""

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.objectives.expressive import ExpressiveLoss
from gls_lightning.objectives.losses import robust_cross_entropy


class MTLIBP(ExpressiveLoss):
    """MTL-IBP (De Palma et al., 2024): alpha times the robust cross-entropy plus 1 - alpha times the adversarial one.

    Args:
        alpha: Share of the bounds: 0 is adversarial training, 1 certified training.
        attack: Finds the adversarial points. By default PGD of 10 steps and 3 restarts, as in CTBench.
        attack_scale: Radius of the attack as a multiple of the bounds' one; its box, too, ends at 0 and 1.
        natural_weight: Weight w of the cross-entropy on the clean samples; the loss is (1 - w) expressive + w natural.
    """

    @override
    def combine(self, lower: Tensor, attacked: Tensor) -> Tensor:
        robust, adversarial = (robust_cross_entropy(margins) for margins in (lower, attacked))
        return torch.lerp(adversarial, robust, self.alpha).mean()
