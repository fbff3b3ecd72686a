"""MTL-IBP."""

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.objectives.expressive import ExpressiveLoss
from gls_lightning.objectives.losses import robust_cross_entropy


class MTLIBP(ExpressiveLoss):
    """MTL-IBP (De Palma et al., 2024): alpha times the robust cross-entropy plus 1 - alpha times the adversarial one.

    The arguments are those of :class:`ExpressiveLoss`.

    Example:
        >>> from gls_lightning.bounds import trace
        >>> from gls_lightning.objectives import Batch
        >>> from gls_lightning.relaxations import IBP
        >>> objective, graph = MTLIBP(alpha=0.5), trace(torch.nn.Linear(3, 3), (3,))
        >>> starts = objective.draw_starts(graph, torch.arange(3), 0)
        >>> tensors = {"weight": torch.eye(3), "bias": torch.zeros(3)}
        >>> batch = Batch(torch.eye(3), torch.arange(3), torch.tensor(0.1), starts)
        >>> sorted(objective(graph, IBP(), tensors, batch)[1])
        ['adversarial_accuracy', 'certified_accuracy', 'natural_accuracy']
    """

    @override
    def combine(self, lower: Tensor, attacked: Tensor) -> Tensor:
        robust, adversarial = (robust_cross_entropy(margins) for margins in (lower, attacked))
        return torch.lerp(adversarial, robust, self.alpha).mean()
