"""The schedule of the perturbation radius."""

from collections.abc import Sequence

from gls_lightning.callbacks.schedule_callback import ScheduleCallback
from gls_lightning.schedules import ScheduleInEpochs, Shape
from gls_lightning.training import CertifiedModule


class EpsilonAnnealing(ScheduleCallback):
    """Raises the radius from 0 to the module's target, a little with every batch.

    Between the two epochs, counted from 0, ``linear`` rises evenly, and ``cosine`` is slow at both ends. ``smooth`` is
    the ramp of the certified training literature (Gowal et al., 2018; Shi et al., 2021; CTBench): a quartic curve for
    the first quarter of the batches, then the straight line that continues it without a kink. ``step`` raises the
    radius by equal parts at the milestones. The radius is a function of the number of batches so far, so nothing needs
    to be saved.

    Args:
        start_epoch: Training uses radius 0 before this epoch.
        end_epoch: Training uses the target radius from this epoch on; 0 for a constant radius.
        shape: ``smooth``, ``linear``, ``cosine`` or ``step``.
        milestones: The epochs that start with a larger radius, the last of them with the target, if the shape is
            ``step``; it has no other epochs.

    Raises:
        ConfigurationError: The epochs are negative, in the wrong order, or not those of the shape; when training
            starts: the training data has no length.
    """

    scheduled = "epsilon"

    def __init__(
        self, *, start_epoch: int = 0, end_epoch: int = 0, shape: Shape = "smooth", milestones: Sequence[int] = ()
    ) -> None:
        parts = len(milestones) or 1
        levels = [passed / parts for passed in range(parts + 1)]
        self.in_epochs = ScheduleInEpochs("epsilon_annealing", shape, start_epoch, end_epoch, milestones, levels)
        if shape == "step":
            self.in_epochs.require_change()

    def consequence(self, module: CertifiedModule, fraction: float) -> str:
        """See :meth:`ScheduleCallback.consequence`."""
        radius, target = module.epsilon * fraction, module.epsilon
        return f"the radius gets to {radius:.3g} at most, {fraction:.1%} of the target {target:g}"
