"""The schedule of SAM's ascent step."""

from collections.abc import Sequence
from typing import Literal

from lightning.pytorch import LightningModule, Trainer

from gls_lightning.arguments import require
from gls_lightning.callbacks.schedule_callback import EstimatorSchedule
from gls_lightning.errors import ConfigurationError
from gls_lightning.schedules import Opposite, Shape
from gls_lightning.training import certified_module


class AdaptiveRho(EstimatorSchedule):
    """Shortens SAM's ascent step during training.

    By default it does so as the radius grows, ``rho0 * (1 - (1 - factor) * epsilon / target)``, which is CTBench's
    adaptive option (Mao et al., 2024). The other shapes are those of ``SigmaDecay``, at epochs of their own. Rho is a
    function of the number of batches so far, so nothing needs to be saved.

    Args:
        factor: What the configured rho is multiplied by at the target radius, at each milestone, or in all between
            ``start_epoch`` and ``end_epoch``.
        shape: ``epsilon`` to follow the radius, ``step``, ``linear``, ``smooth`` or ``cosine``.
        milestones: The epochs, counted from 0, that start with a shorter step, if the shape is ``step``.
        start_epoch: The epoch with which rho starts to fall, if the shape is ``linear``, ``smooth`` or ``cosine``.
        end_epoch: The epoch from which on rho stays the same, if the shape is one of these.

    Raises:
        ConfigurationError: The factor is not positive, or the epochs are negative, in the wrong order, or not those of
            the shape; when training starts: the estimator is not SAM, or the training data has no length.
    """

    scheduled = "rho"

    def __init__(
        self,
        *,
        factor: float = 0.01,
        shape: Shape | Literal["epsilon"] = "epsilon",
        milestones: Sequence[int] = (),
        start_epoch: int = 0,
        end_epoch: int = 0,
    ) -> None:
        self.factor = factor
        if shape == "epsilon":
            right = f"one with {'milestones' if milestones else 'a start_epoch and an end_epoch'}, or give none"
            require(not (milestones or start_epoch or end_epoch), "AdaptiveRho.shape", shape, right)
            self.in_epochs = self.read("AdaptiveRho", "step", 0, 0, (), factor)
        else:
            self.in_epochs = self.read("AdaptiveRho", shape, start_epoch, end_epoch, milestones, factor)
            self.in_epochs.require_change()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there is a step to shorten."""
        estimator = certified_module(self, pl_module).estimator
        if self.scheduled not in estimator.schedulable:
            raise ConfigurationError(f"AdaptiveRho needs the estimator SAM, not {type(estimator).__name__}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sets the schedule."""
        if self.in_epochs.rests:
            module = certified_module(self, pl_module)
            self.follow(module, Opposite(module.schedules, "epsilon", self.factor))
        super().on_train_start(trainer, pl_module)
