"""The schedule of the perturbation of the weights."""

from collections.abc import Sequence

from lightning.pytorch import LightningModule, Trainer

from gls_lightning.callbacks.schedule_callback import EstimatorSchedule
from gls_lightning.errors import ConfigurationError
from gls_lightning.schedules import Shape
from gls_lightning.training import certified_module


class SigmaDecay(EstimatorSchedule):
    """Lowers the standard deviation of the estimator's perturbations during training (paper, App. F.2).

    By default sigma is multiplied by the factor at each of the milestones. The other shapes lead from the configured
    sigma to the factor times it between two epochs, as those of ``EpsilonAnnealing`` do. Sigma is a function of the
    number of batches so far, so nothing needs to be saved.

    Args:
        factor: What sigma is multiplied by at each milestone, or in all between ``start_epoch`` and ``end_epoch``.
        milestones: The epochs, counted from 0, that start with a smaller sigma, if the shape is ``step``; none by
            default.
        shape: ``step``, ``linear``, ``smooth`` or ``cosine``.
        start_epoch: The epoch with which sigma starts to fall, if the shape is not ``step``.
        end_epoch: The epoch from which on sigma stays the same, if the shape is not ``step``.

    Raises:
        ConfigurationError: The factor is not positive, or the epochs are negative, in the wrong order, or not those of
            the shape; when training starts: the estimator has no sigma that may be scheduled, or the training data has
            no length.
    """

    scheduled = "sigma"

    def __init__(
        self,
        *,
        factor: float = 0.4,
        milestones: Sequence[int] = (),
        shape: Shape = "step",
        start_epoch: int = 0,
        end_epoch: int = 0,
    ) -> None:
        self.in_epochs = self.read("sigma_decay", shape, start_epoch, end_epoch, milestones, factor)
        if shape != "step":
            self.in_epochs.require_change()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there is a sigma to decay."""
        estimator, milestones = certified_module(self, pl_module).estimator, list(self.in_epochs.milestones)
        if not self.in_epochs.rests and self.scheduled not in estimator.schedulable:
            given = f"milestones {milestones}" if milestones else f"end_epoch {self.in_epochs.end_epoch}"
            raise ConfigurationError(
                f"sigma_decay has {given}, but the estimator {type(estimator).__name__} has no sigma to decay; "
                + ("set sigma_decay.milestones: []" if milestones else "leave sigma_decay out")
            )
