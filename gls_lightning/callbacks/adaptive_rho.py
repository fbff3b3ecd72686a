"""The schedule of SAM's ascent step."""

from collections.abc import Sequence
from typing import Literal

from lightning.pytorch import LightningModule, Trainer

from gls_lightning.callbacks.estimator_schedule import EstimatorSchedule
from gls_lightning.errors import ConfigurationError
from gls_lightning.schedules import Falling, Shape
from gls_lightning.training import bounded_network


class AdaptiveRho(EstimatorSchedule):
    """Shortens SAM's ascent step: as the radius grows, or on a schedule of its own.

    With ``epsilon``, rho is ``rho0 * (1 - 0.99 * epsilon / target)``, CTBench's adaptive option (Mao et al., 2024). It
    depends on the training step alone, so no state is saved.

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

    section, quantity = "AdaptiveRho", "rho"

    def __init__(
        self,
        *,
        shape: Shape | Literal["epsilon"] = "epsilon",
        factor: float = 0.01,
        milestones: Sequence[int] = (),
        start_epoch: int = 0,
        end_epoch: int = 0,
    ) -> None:
        self.follows_epsilon = shape == "epsilon"
        super().__init__(factor, milestones, "step" if shape == "epsilon" else shape, start_epoch, end_epoch)
        if self.follows_epsilon and milestones:
            raise ConfigurationError(
                f"AdaptiveRho.milestones is {list(milestones)}, but the shape is epsilon; they need the shape step"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there is a step to shorten."""
        estimator = bounded_network(self, pl_module).estimator
        if "rho" not in estimator.schedulable:
            raise ConfigurationError(f"AdaptiveRho needs the estimator SAM, not {type(estimator).__name__}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the module the schedule."""
        if not self.follows_epsilon:
            super().on_train_start(trainer, pl_module)
            return
        module = bounded_network(self, pl_module)
        # Another callback may give the module its radius after this one.
        module.estimator_schedules["rho"] = Falling(lambda step: module.epsilon_schedule.fraction(step), self.factor)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the schedule back, and leaves the configured length."""
        super().on_fit_end(trainer, pl_module)
        bounded_network(self, pl_module).estimator.scale("rho", 1.0)
