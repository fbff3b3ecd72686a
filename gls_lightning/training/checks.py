"""Checks of a fit before anything long starts: whether its parts suit each other."""

from typing import cast

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives import Objective, Regularizer
from gls_lightning.private_names import of_lightning
from gls_lightning.schedules import Constant
from gls_lightning.training.network import BoundedNetwork
from gls_lightning.training.population_statistics import indexed_training_loader
from gls_lightning.training.run_length import run_length

TOO_SMALL = (
    "has 1 image, of which BatchNorm sees one value for each channel and no variance; set drop_last=True in the "
    "training DataLoader (data.drop_last: true), or a batch_size that leaves no single image"
)


def check_precision(trainer: Trainer) -> None:
    """Refuses to round perturbations away."""
    if trainer.precision in ("bf16-true", "16-true"):
        raise ConfigurationError(
            f"trainer.precision is {trainer.precision}, which rounds perturbations of parameters and images "
            "away; use 32-true or 64-true"
        )


def check_classes(module: BoundedNetwork, num_classes: int | None) -> None:
    """Refuses a network with another number of outputs than the data has classes, as far as that is known."""
    if num_classes not in (None, module.graph.num_outputs):
        raise ConfigurationError(
            f"the network has {module.graph.num_outputs} outputs, but the data {num_classes} classes"
        )


def check_trained_network(module: BoundedNetwork) -> None:
    """Refuses a network that the objective cannot be evaluated on, or that is another one in training."""
    module.objective.check(module.graph)
    if module.graph.dropout > 0:
        raise ConfigurationError(
            f"the network has dropout with probability {module.graph.dropout}; bounds hold for the network without "
            "it, so training needs probability 0"
        )


def check_fit(module: BoundedNetwork, *, population_parallel: bool) -> None:
    """Refuses parts that cannot train together, and says what processes with batches of their own do differently."""
    _check_estimator(module, population_parallel=population_parallel)
    if module.trainer.world_size > 1 and not population_parallel:
        _warn_of_batch_statistics(module)


def _check_estimator(module: BoundedNetwork, *, population_parallel: bool) -> None:
    """Refuses an estimator that needs gradients which there are not, or a population that cannot be shared out."""
    estimator = type(module.estimator).__name__
    if (
        module.objective.uses_relaxation
        and module.estimator.needs_differentiable
        and not module.relaxation.differentiable
    ):
        raise ConfigurationError(
            f"relaxation {type(module.relaxation).__name__} has no useful gradients, which estimator {estimator} "
            "needs; choose a relaxation that has them, such as DeepPoly"
        )
    if not population_parallel:
        return
    if module.estimator.population_size == 1:
        raise ConfigurationError(
            f"population_parallel divides a population, and estimator {estimator} has none; "
            "set model.population_parallel: false"
        )
    if module.trainer.world_size > 1 and of_lightning.shares_batches(module.trainer):
        raise ConfigurationError(
            "population_parallel needs the same batch on every process; set trainer.use_distributed_sampler: false"
        )


def _warn_of_batch_statistics(module: BoundedNetwork) -> None:
    """Says of what is no mean over samples that each process computes it for its own part of the batch."""
    if module.has_batch_norm:
        rank_zero_warn("BatchNorm takes its statistics from each process's own part of the batch.")
    terms: list[Objective | Regularizer] = [module.objective, *module.regularizers]
    for term in terms:
        if term.uses_batch_statistics:
            rank_zero_warn(
                f"{type(term).__name__} is no mean over samples, and each process computes it for its own part of "
                "the batch."
            )


def warn_of_idle_regularizers(module: BoundedNetwork) -> None:
    """Says of regularisers that fade with the radius that they will not act; the schedules are set by then."""
    annealed = module.epsilon > 0 and not isinstance(module.epsilon_schedule, Constant)
    for term in module.regularizers:
        if term.fades_with_epsilon and not annealed:
            rank_zero_warn(
                f"{type(term).__name__} acts only while epsilon is annealed, so in this run not at all; set "
                "epsilon_annealing.end_epoch"
            )


def require_large_last_batch(module: BoundedNetwork) -> None:
    """Refuses a last batch of an epoch that is too small for BatchNorm."""
    if module.graph.has_batch_norm:
        enough = _last_batch_size(module.trainer) >= module.graph.smallest_batch
        if not module.trainer.strategy.reduce_boolean_decision(enough, all=True):
            number = int(module.trainer.num_training_batches) - 1
            raise ConfigurationError(f"batch {number}, the last of each epoch, {TOO_SMALL}")


def require_large_batch(module: BoundedNetwork, images: int, batch_idx: int) -> None:
    """Refuses a batch of so many images if that is too small for BatchNorm."""
    if images < module.graph.smallest_batch:
        raise ConfigurationError(f"batch {batch_idx} of epoch {module.current_epoch} {TOO_SMALL}")


def _last_batch_size(trainer: Trainer) -> int:
    """Counts the images in the last training batch of an epoch in this process, as far as the fit gets to it."""
    loader = indexed_training_loader(trainer)
    full, batches = cast(int, loader.batch_size), len(loader)
    if loader.drop_last or trainer.num_training_batches < batches or run_length(trainer).epochs < 1:
        return full
    return len(loader.sampler) - (batches - 1) * full  # type: ignore[arg-type]
