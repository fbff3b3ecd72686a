"""The schedule of SAM's ascent step."""

from collections.abc import Sequence
from typing import Literal

from lightning.pytorch import LightningModule, Trainer

from gls_lightning.arguments import require
from gls_lightning.callbacks._schedule_callback import EstimatorSchedule
from gls_lightning.errors import ConfigurationError
from gls_lightning.schedules import Falling, Shape
from gls_lightning.training import bounded_network


class AdaptiveRho(EstimatorSchedule):
    """Shortens SAM's ascent step: as the radius grows, or on a schedule of its own.

    With ``epsilon``, rho is ``rho0 * (1 - (1 - factor) * epsilon / target)``; at the default factor that is CTBench's
    adaptive option (Mao et al., 2024). It depends on the training step alone, so no state is saved.

    Args:
        shape: ``epsilon``; or ``step``, ``linear``, ``smooth``, ``cosine`` with the following options.
        factor: What rho is multiplied by: at the target radius, at each milestone, or at the end of a ramp.
        milestones: For ``step``, the epochs, counted from 0, that start with another rho.
        start_epoch: For a ramp, the epoch at which it starts.
        end_epoch: For a ramp, the epoch from which on it has ended.

    Raises:
        ConfigurationError: The options are out of their ranges or contradict each other; when training starts: the
            estimator is not SAM.
    """

    quantity = "rho"

    def __init__(
        self,
        *,
        shape: Shape | Literal["epsilon"] = "epsilon",
        factor: float = 0.01,
        milestones: Sequence[int] = (),
        start_epoch: int = 0,
        end_epoch: int = 0,
    ) -> None:
        if shape == "epsilon":
            right = f"one that has {'milestones' if milestones else 'a start_epoch and an end_epoch'}, or give none"
            require(not (milestones or start_epoch or end_epoch), "AdaptiveRho.shape", shape, right)
            self.read("AdaptiveRho", factor, (), "step", 0, 0)
        else:
            self.read("AdaptiveRho", factor, milestones, shape, start_epoch, end_epoch)
            require(self.epochs.changes, "AdaptiveRho.milestones", [], "epochs for the shape step")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there is a step to shorten."""
        estimator = bounded_network(self, pl_module).estimator
        if "rho" not in estimator.schedulable:
            raise ConfigurationError(f"AdaptiveRho needs the estimator SAM, not {type(estimator).__name__}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the module the schedule."""
        super().on_train_start(trainer, pl_module)
        if not self.epochs.changes:
            module = bounded_network(self, pl_module)
            # Another callback may give the module its radius after this one.
            self.give(module, Falling(module.epsilon_fraction, self.factor))
