"""The schedule of the perturbation radius."""

from collections.abc import Sequence

from lightning.pytorch import LightningModule, Trainer

from gls_lightning.arguments import require
from gls_lightning.callbacks._schedule_callback import ScheduleCallback
from gls_lightning.schedules import Constant, InEpochs, Schedule, Shape, Stairs
from gls_lightning.training import BoundedNetwork, bounded_network


class EpsilonAnnealing(ScheduleCallback):
    """Raises the radius from 0 to the module's target, a little with every batch or at milestones.

    Epochs are counted from 0. Between the two, ``linear`` rises evenly, ``cosine`` as half a period of the cosine.
    ``smooth`` is the ramp of the certified training literature (Gowal et al., 2018; Shi et al., 2021; CTBench): a
    quartic curve for the first quarter of the batches, then the straight line that continues it without a kink.
    ``step`` rises by the same height at each of its milestones. The radius depends on the number of batches so far and
    on nothing else, so no state is saved.

    Args:
        start_epoch: Training uses radius 0 before this epoch.
        end_epoch: Training uses the target radius from this epoch on; 0 for a constant radius.
        shape: ``smooth``, ``linear``, ``cosine`` or ``step``.
        milestones: For ``step``, the epochs that start with a larger radius, in place of the other two.

    Raises:
        ConfigurationError: The options are out of their ranges or contradict each other.
    """

    def __init__(
        self, *, start_epoch: int = 0, end_epoch: int = 0, shape: Shape = "smooth", milestones: Sequence[int] = ()
    ) -> None:
        self.epochs = InEpochs("epsilon_annealing", shape, start_epoch, end_epoch, milestones)
        require(shape != "step" or bool(milestones), "epsilon_annealing.milestones", [], "epochs for the shape step")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there is a radius to anneal."""
        bounded_network(self, pl_module)

    def set(self, module: BoundedNetwork, schedule: Schedule | None) -> None:
        """See :meth:`ScheduleCallback.set`."""
        module.epsilon_schedule = schedule or Constant()

    def schedule(self, batches_per_epoch: int) -> Schedule:
        """See :meth:`ScheduleCallback.schedule`."""
        if self.epochs.shape == "step":
            return Stairs(self.epochs.steps(batches_per_epoch))
        return self.epochs.ramp(batches_per_epoch, first=0.0, last=1.0)

    def consequence(self, module: BoundedNetwork, fraction: float) -> str:
        """See :meth:`ScheduleCallback.consequence`."""
        radius, target = module.epsilon * fraction, module.epsilon
        return f"the radius gets to {radius:.3g} at most, {fraction:.1%} of the target {target:g}"
