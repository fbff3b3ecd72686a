"""The schedule of the perturbation of the weights."""

from collections.abc import Sequence
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from gls_lightning.errors import ConfigurationError
from gls_lightning.training import certified_module, run_length


class SigmaDecay(Callback):
    """Multiplies the estimator's standard deviation by a factor at some epochs (paper, App. F.2).

    It is a function of the epoch, so nothing needs to be saved.

    Args:
        factor: What sigma is multiplied by at each milestone.
        milestones: The epochs, counted from 0, that start with a smaller sigma; none by default.

    Raises:
        ConfigurationError: The factor is not positive; when training starts: the estimator has no sigma that may be
            scheduled.
    """

    def __init__(self, *, factor: float = 0.4, milestones: Sequence[int] = ()) -> None:
        if not factor > 0:
            raise ConfigurationError(f"sigma_decay.factor is {factor}; it must be positive")
        self.factor = factor
        self.milestones = tuple(milestones)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there is a sigma to decay."""
        estimator = certified_module(self, pl_module).estimator
        if self.milestones and not hasattr(estimator, "initial_sigma"):
            raise ConfigurationError(
                f"sigma_decay has milestones {list(self.milestones)}, but the estimator {type(estimator).__name__} has "
                "no sigma to decay; set sigma_decay.milestones: []"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warns of milestones behind the fit."""
        length = run_length(trainer)
        if late := [milestone for milestone in self.milestones if milestone >= length.epochs]:
            rank_zero_warn(f"sigma_decay has the milestones {late}, but training ends with {length}: they never come")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Sets the standard deviation of this epoch."""
        estimator = certified_module(self, pl_module).estimator
        if self.milestones:
            cast(Tensor, estimator.sigma).fill_(self.sigma(cast(float, estimator.initial_sigma), trainer.current_epoch))

    def sigma(self, initial: float, epoch: int) -> float:
        """The standard deviation in an epoch."""
        return initial * self.factor ** sum(milestone <= epoch for milestone in self.milestones)
