"""Exp-IBP."""

import math
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.objectives.expressive import ExpressiveLoss


class EXPIBP(ExpressiveLoss):
    """Exp-IBP (De Palma et al., 2024): robust**alpha * adversarial**(1 - alpha), of the two cross-entropies.

    The paper combines the losses of each sample; the authors' code and CTBench's combine the means over the batch
    (``of_batch``). The former loss is at most the latter, and that at most the loss of ``MTLIBP``.

    Args:
        of_batch: Whether to combine the mean losses of the batch. Several processes that split batches then train on
            another loss than one process: their means are over smaller batches.
        **options: The arguments of :class:`ExpressiveLoss`.
    """

    def __init__(self, *, of_batch: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.of_batch = of_batch
        self.uses_batch_statistics = of_batch

    @override
    def combine(self, lower: Tensor, attacked: Tensor) -> Tensor:
        # The powers of losses that round to 0 have no finite derivatives; logarithms do not come near that.
        robust, adversarial = (_log_cross_entropy(margins) for margins in (lower, attacked))
        if self.of_batch:
            robust, adversarial = (logs.logsumexp(0) - math.log(len(logs)) for logs in (robust, adversarial))
        return torch.lerp(adversarial, robust, self.alpha).exp().mean()


def _log_cross_entropy(margins: Tensor) -> Tensor:
    """Returns the logarithm ``[B]`` of the cross-entropy for margins ``[B, K - 1]``; finite even if that rounds to 0.

    With z the logarithm of the sum of exp(-margin), the cross-entropy is log(1 + exp(z)). For small exp(z) it rounds to
    exp(z), and its logarithm is z.
    """
    z = torch.logsumexp(-margins, dim=1)
    small = z < math.log(torch.finfo(z.dtype).eps)
    return torch.where(small, z, torch.logaddexp(torch.where(small, 0, z), z.new_zeros(())).log())
