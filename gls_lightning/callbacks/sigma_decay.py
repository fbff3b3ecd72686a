"""The schedule of the perturbation of the weights."""

from collections.abc import Sequence
from math import inf

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from gls_lightning.arguments import require
from gls_lightning.callbacks._schedule_callback import EstimatorSchedule
from gls_lightning.errors import ConfigurationError
from gls_lightning.schedules import Constant, Falling, Product, Shape
from gls_lightning.training import bounded_network


class SigmaDecay(EstimatorSchedule):
    """Changes the estimator's standard deviation in training: at milestones (paper, App. F.2), or from epoch to epoch.

    It depends on the number of batches so far and on nothing else, so no state is saved. The milestones are its own:
    those of the learning rate may be others. On top of them ``ramp_factor`` makes sigma larger while epsilon grows: at
    radius r by the factor ``ramp_factor - (ramp_factor - 1) * r / target``.

    Args:
        factor: What sigma is multiplied by: at each milestone, or between the start and the end of a ramp. Above 1 it
            grows.
        milestones: For ``step``, the epochs, counted from 0, that start with another sigma; none by default.
        shape: ``step``, or the ramp ``linear``, ``smooth`` or ``cosine``.
        start_epoch: For a ramp, the epoch at which it starts.
        end_epoch: For a ramp, the epoch from which on it has ended.
        ramp_factor: What sigma is multiplied by while epsilon is 0; it falls to 1 as epsilon grows to its target. By
            default epsilon changes nothing; below 1 sigma grows with epsilon.

    Raises:
        ConfigurationError: The options are out of their ranges or contradict each other; when training starts: the
            estimator has no sigma that may be scheduled.
    """

    quantity = "sigma"
    _unchecked = False

    def __init__(
        self,
        *,
        factor: float = 0.4,
        milestones: Sequence[int] = (),
        shape: Shape = "step",
        start_epoch: int = 0,
        end_epoch: int = 0,
        ramp_factor: float = 1.0,
    ) -> None:
        self.read("sigma_decay", factor, milestones, shape, start_epoch, end_epoch)
        require(0 < ramp_factor < inf, "sigma_decay.ramp_factor", ramp_factor, "positive and finite")
        self.ramp_factor = ramp_factor

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there is a sigma to change."""
        estimator = bounded_network(self, pl_module).estimator
        if "sigma" not in estimator.schedulable and (given := self._given()):
            raise ConfigurationError(
                f"sigma_decay has {given}, but the estimator {type(estimator).__name__} has no sigma to decay; set "
                "sigma_decay.milestones: [], sigma_decay.shape: step and sigma_decay.ramp_factor: 1"
            )

    def _given(self) -> str:
        """Names an option that changes sigma, if there is one."""
        if self.epochs.milestones:
            return f"milestones {list(self.epochs.milestones)}"
        if self.epochs.changes:
            return f"end_epoch {self.epochs.end_epoch}"
        return f"ramp_factor {self.ramp_factor:g}" if self.ramp_factor != 1 else ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the module the schedule."""
        super().on_train_start(trainer, pl_module)
        if self.ramp_factor != 1:
            module = bounded_network(self, pl_module)
            own = module.estimator_schedules.get(self.quantity, Constant())
            # Another callback may give the module its radius after this one.
            self.give(module, Product(own, Falling(module.epsilon_fraction, last=1.0, first=self.ramp_factor)))
            self._unchecked = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warns of a ``ramp_factor`` without a ramp, once all callbacks have set their schedules."""
        if self._unchecked and isinstance(bounded_network(self, pl_module).epsilon_schedule, Constant):
            rank_zero_warn(
                f"sigma_decay.ramp_factor is {self.ramp_factor:g}, but epsilon does not grow, so it changes nothing; "
                "set epsilon_annealing.end_epoch"
            )
        self._unchecked = False
