"""The exponential moving average of the weights."""

from torch.optim.swa_utils import get_ema_multi_avg_fn

from gls_lightning.arguments import require
from gls_lightning.callbacks._averaged_weights import AveragedWeights


class EMA(AveragedWeights):
    """Exponential moving average of the weights (Polyak and Juditsky, 1992; as in Tarvainen and Valpola, 2017).

    The first network is taken as it is; after each further one the average is ``decay`` times itself plus ``1 - decay``
    times the weights. It follows training with a delay of some ``1 / (1 - decay)`` networks, so it can run from the
    start, where the mean of :class:`SWA` suits the last epochs. All else is as there: validation, checkpoints, and
    callbacks that look at the network in validation see the average, with BatchNorm statistics of its own.

    Args:
        decay: How much of the average stays in each update, from 0 to below 1.
        start_epoch: Averaging starts with this epoch, counted from 0.
        every_n_steps: How many optimizer steps lie between two networks that are averaged.

    Raises:
        ConfigurationError: An argument is out of its range; when the fit starts: ``start_epoch`` is not before its end,
            or another callback averages too.
    """

    def __init__(self, *, decay: float = 0.999, start_epoch: int = 0, every_n_steps: int = 1) -> None:
        require(0 <= decay < 1, "EMA.decay", decay, "at least 0 and below 1")
        super().__init__(start_epoch=start_epoch, every_n_steps=every_n_steps, average=get_ema_multi_avg_fn(decay))
        self.decay = decay
