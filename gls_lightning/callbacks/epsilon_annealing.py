"""The schedule of the perturbation radius."""

from collections.abc import Sequence

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from gls_lightning.arguments import require
from gls_lightning.schedules import Constant, InEpochs, Schedule, Shape, Stairs
from gls_lightning.training import batches_per_epoch, bounded_network, run_length


class EpsilonAnnealing(Callback):
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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the module the schedule, and warns of one that ends behind the fit."""
        if not self.epochs.changes:
            return
        module = bounded_network(self, pl_module)
        module.epsilon_schedule = self.schedule(trainer)
        length, last = run_length(trainer), self.epochs.last_epoch
        if last > length.epochs or self.epochs.start_epoch >= length.epochs:
            final_step = max(0, round(length.epochs * batches_per_epoch(trainer, "epsilon_annealing")) - 1)
            largest = module.epsilon_schedule.fraction(final_step)
            rank_zero_warn(
                f"epsilon_annealing has end_epoch {last}, but training ends with {length}: "
                f"the radius gets to {module.epsilon * largest:.3g} at most, {largest:.1%} of the target "
                f"{module.epsilon:g}"
            )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the schedule back: it was made for this fit."""
        if self.epochs.changes:
            bounded_network(self, pl_module).epsilon_schedule = Constant()

    def schedule(self, trainer: Trainer) -> Schedule:
        """The share of the target radius, in the trainer's batches."""
        batches = batches_per_epoch(trainer, "epsilon_annealing")
        if self.epochs.shape == "step":
            return Stairs(self.epochs.steps(batches))
        return self.epochs.ramp(batches, first=0.0, last=1.0)
