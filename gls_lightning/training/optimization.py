"""The optimizer and the learning rate schedule of a module, as Lightning takes them."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from gls_lightning.errors import ConfigurationError


def optimizer_and_schedule(
    module: LightningModule,
    trainable: list[Tensor],
    make_optimizer: OptimizerCallable,
    make_schedule: LRSchedulerCallable | None,
    interval: str,
) -> OptimizerLRScheduler:
    """Makes the optimizer of some parameters of a module, and its learning rate schedule.

    Raises:
        ConfigurationError: There is no parameter, an argument of the two is wrong, or the schedule does not fit the
            interval or the fit.
    """
    if not trainable:
        raise ConfigurationError("the network has no trainable parameter")
    with configuration_of("model.optimizer"):
        optimizer = make_optimizer(trainable)
    if make_schedule is None:
        return optimizer
    with configuration_of("model.scheduler"):
        schedule = make_schedule(optimizer)
    if isinstance(schedule, ReduceLROnPlateau):
        return {"optimizer": optimizer, "lr_scheduler": _watching(module.trainer, schedule, interval)}
    if interval == "step":
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
    return {"optimizer": optimizer, "lr_scheduler": schedule}


def _watching(trainer: Trainer, schedule: ReduceLROnPlateau, interval: str) -> LRSchedulerConfigType:
    """Describes a schedule with the metric that it watches, after each epoch that has one."""
    metric = getattr(schedule, "monitor", "val/loss")  # Lightning's own class names one
    if interval == "step":
        raise ConfigurationError(
            f"ReduceLROnPlateau watches {metric} after epochs: model.scheduler_interval is step; set it to epoch"
        )
    if not metric.startswith("val/"):
        return {"scheduler": schedule, "monitor": metric}
    if not trainer.enable_validation:
        raise ConfigurationError(
            f"ReduceLROnPlateau watches {metric}, but this fit has no validation; give it validation images"
        )
    every = trainer.check_val_every_n_epoch
    return {"scheduler": schedule, "monitor": metric, "frequency": every or 1, "strict": every is not None}


@contextmanager
def configuration_of(key: str) -> Iterator[None]:
    """Makes a bad argument of PyTorch's constructors bad input."""
    try:
        yield
    except ValueError as error:
        raise ConfigurationError(f"{key}: {error}") from error
