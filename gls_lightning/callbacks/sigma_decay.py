"""The schedule of the perturbation of the weights."""

from collections.abc import Sequence

from lightning.pytorch import LightningModule, Trainer

from gls_lightning.callbacks._schedule_callback import EstimatorSchedule
from gls_lightning.errors import ConfigurationError
from gls_lightning.schedules import Shape
from gls_lightning.training import bounded_network


class SigmaDecay(EstimatorSchedule):
    """Changes the estimator's standard deviation in training: at milestones (paper, App. F.2), or from epoch to epoch.

    It depends on the number of batches so far and on nothing else, so no state is saved. The milestones are its own:
    those of the learning rate may be others.

    Args:
        factor: What sigma is multiplied by: at each milestone, or between the start and the end of a ramp. Above 1 it
            grows.
        milestones: For ``step``, the epochs, counted from 0, that start with another sigma; none by default.
        shape: ``step``, or the ramp ``linear``, ``smooth`` or ``cosine``.
        start_epoch: For a ramp, the epoch at which it starts.
        end_epoch: For a ramp, the epoch from which on it has ended.

    Raises:
        ConfigurationError: The options are out of their ranges or contradict each other; when training starts: the
            estimator has no sigma that may be scheduled.
    """

    quantity = "sigma"

    def __init__(
        self,
        *,
        factor: float = 0.4,
        milestones: Sequence[int] = (),
        shape: Shape = "step",
        start_epoch: int = 0,
        end_epoch: int = 0,
    ) -> None:
        self.read("sigma_decay", factor, milestones, shape, start_epoch, end_epoch)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there is a sigma to change."""
        estimator = bounded_network(self, pl_module).estimator
        if self.epochs.changes and "sigma" not in estimator.schedulable:
            given = (
                f"milestones {list(self.epochs.milestones)}"
                if self.epochs.milestones
                else f"end_epoch {self.epochs.end_epoch}"
            )
            raise ConfigurationError(
                f"sigma_decay has {given}, but the estimator {type(estimator).__name__} has no sigma to decay; set "
                "sigma_decay.milestones: [] and sigma_decay.shape: step"
            )
