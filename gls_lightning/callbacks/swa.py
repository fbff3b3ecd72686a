"""Stochastic weight averaging."""

from gls_lightning.callbacks._averaged_weights import AveragedWeights


class SWA(AveragedWeights):
    """Stochastic weight averaging (Izmailov et al., 2018): the mean of the weights of the last epochs.

    As soon as there is an average, validation, checkpoints, and callbacks that look at the network in validation see
    the averaged network, with BatchNorm statistics of its own (those of the training set: one more pass over it for
    each epoch). A resumed fit continues with both networks.

    Args:
        start_epoch: Averaging starts with this epoch, counted from 0.
        every_n_steps: How many optimizer steps lie between two networks that are averaged. By default 10, as in
            CTBench.

    Raises:
        ConfigurationError: ``start_epoch`` is negative or ``every_n_steps`` is below 1; when the fit starts:
            ``start_epoch`` is not before its end, or another callback averages too.
    """

    def __init__(self, *, start_epoch: int, every_n_steps: int = 10) -> None:
        super().__init__(start_epoch=start_epoch, every_n_steps=every_n_steps)
