"""A bounded network with the optimizer and the learning rate schedule of its fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal, Self, TypeVar, get_args

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import LRSchedulerConfigType, LRSchedulerTypeUnion, OptimizerLRScheduler
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from gls_lightning.arguments import require, shown
from gls_lightning.errors import ConfigurationError
from gls_lightning.training._fused_steps import fuse
from gls_lightning.training.network import BoundedNetwork

Interval = Literal["epoch", "step"]
"""After what a learning rate schedule is stepped."""

Factory = TypeVar("Factory")


class OptimizedNetwork(BoundedNetwork):
    """A bounded network with its optimizer and learning rate schedule, as Lightning takes them.

    Args:
        network: Maps images in [0, 1] to logits.
        optimizer: Makes the optimizer from the trainable parameters.
        scheduler: Makes the learning rate schedule from the optimizer.
        scheduler_interval: After what the schedule is stepped.
        **parts: The further arguments of :class:`BoundedNetwork`.

    Raises:
        ConfigurationError: An object is given in place of a function that makes it, or the interval is unknown.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None,
        scheduler_interval: Interval,
        **parts: Any,
    ) -> None:
        require(scheduler_interval in get_args(Interval), "scheduler_interval", scheduler_interval, "epoch or step")
        super().__init__(network, **parts)
        self.optimizer = _factory("optimizer", optimizer, "lambda params: torch.optim.Adam(params, lr=5e-4)")
        self.scheduler = scheduler and _factory("scheduler", scheduler, "lambda optimizer: StepLR(optimizer, 10)")
        self.scheduler_interval = scheduler_interval
        self._watched_until = -1  # the batch after which schedules that watch a metric were last stepped

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Makes the optimizer of all trainable parameters, and its schedule.

        Lightning asks for them when the parameters lie on the device of the training. On a GPU PyTorch's optimizers
        take fused steps, unless their options say how they compute.

        Raises:
            ConfigurationError: There is no parameter, an argument of the two is wrong, or the schedule does not fit
                the interval or the fit.
        """
        trainable = list(self.trainable_parameters().values())
        if not trainable:
            raise ConfigurationError("the network has no trainable parameter")
        with configuration_of("model.optimizer"):
            optimizer = self.optimizer(trainable)
        fuse(optimizer)
        if self.scheduler is None:
            return optimizer
        with configuration_of("model.scheduler"):
            schedule = self.scheduler(optimizer)
        if isinstance(schedule, ReduceLROnPlateau):
            return {"optimizer": optimizer, "lr_scheduler": self._watching(schedule)}
        if self.scheduler_interval == "step":
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _watching(self, schedule: ReduceLROnPlateau) -> LRSchedulerConfigType:
        """Describes a schedule with the metric that it watches, after each epoch that has one."""
        metric = getattr(schedule, "monitor", "val/loss")  # Lightning's own class names one
        if self.scheduler_interval == "step":
            raise ConfigurationError(
                f"ReduceLROnPlateau watches {metric} after epochs: model.scheduler_interval is step; set it to epoch"
            )
        if not metric.startswith("val/"):
            return {"scheduler": schedule, "monitor": metric}
        if not self.trainer.enable_validation:
            raise ConfigurationError(
                f"ReduceLROnPlateau watches {metric}, but this fit has no validation; give it validation images"
            )
        every = self.trainer.check_val_every_n_epoch
        return {"scheduler": schedule, "monitor": metric, "frequency": every or 1, "strict": every is not None}

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """Steps the optimizer, and then what the estimator learns."""
        super().optimizer_step(*args, **options)
        self.estimator.after_step()

    def on_train_epoch_end(self) -> None:
        """Steps schedules that watch a metric, so that the epoch's checkpoints hold that: Lightning does so after."""
        loop = self.trainer.fit_loop.epoch_loop
        self._watched_until = -1
        if self.trainer.is_last_batch:
            loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
            self._watched_until = loop.total_batch_idx

    def lr_scheduler_step(self, scheduler: LRSchedulerTypeUnion, metric: Any | None) -> None:
        """Steps a schedule, but not again after the epoch where it watches a metric."""
        if metric is None or self._watched_until != self.trainer.fit_loop.epoch_loop.total_batch_idx:
            super().lr_scheduler_step(scheduler, metric)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copies all but what makes the optimizer and its schedule: the command line's cannot always be copied."""
        memo |= {id(factory): factory for factory in (self.optimizer, self.scheduler)}
        copy = type(self).__new__(type(self))
        memo[id(self)] = copy
        copy.__dict__ = deepcopy(self.__getstate__(), memo)
        return copy


def _factory(name: str, given: Factory, example: str) -> Factory:
    """Refuses what has been made in place of what makes it."""
    if not callable(given):
        raise ConfigurationError(f"{name} is {shown(given)}; give a function that makes one, such as {example}")
    return given


@contextmanager
def configuration_of(key: str) -> Iterator[None]:
    """Makes a bad argument of PyTorch's constructors bad input."""
    try:
        yield
    except ValueError as error:
        raise ConfigurationError(f"{key}: {error}") from error
