"""Private names of Lightning."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loops.loop import _Loop


def shares_batches(trainer: Trainer) -> bool:
    """Returns the option ``use_distributed_sampler``, which a trainer does not show once it is made."""
    return trainer._accelerator_connector.use_distributed_sampler


def validation_follows(trainer: Trainer) -> bool:
    """Says whether a validation follows the present batch: a decision that depends on five options."""
    loop: Any = trainer.fit_loop
    follows: bool = loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
    return follows


def validates_by_time(trainer: Trainer) -> bool:
    """Says whether validations are a matter of the clock, on which processes need not agree."""
    return getattr(trainer, "_val_check_time_interval", None) is not None


def ends_epoch(trainer: Trainer) -> bool:
    """Says whether the present batch is the last of its epoch, also where ``limit_train_batches`` makes it so."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def checkpoint_follows(trainer: Trainer) -> bool:
    """Says whether a checkpoint is made after the optimizer's present step because of ``every_n_train_steps``."""
    step = trainer.global_step + 1
    every = [c._every_n_train_steps for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
    return any(steps and step % steps == 0 for steps in every)


def start_afresh(loop: _Loop) -> None:
    """Makes a loop that was restarted go on as if it had not been; the public property changes the loops inside too."""
    loop._restarting = False
    loop.reset_restart_stage()


def accumulates(trainer: Trainer) -> bool:
    """Says whether the optimizer waits for another batch."""
    return trainer.fit_loop._should_accumulate()


def step_of_metrics(trainer: Trainer) -> int:
    """Returns the step under which loggers get the metrics of the present batch."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def logs_now(trainer: Trainer) -> bool:
    """Says whether loggers get the metrics of the present batch."""
    return trainer._logger_connector.should_update_logs


def metrics_to_log(trainer: Trainer) -> Mapping[str, Any]:
    """Returns the metrics that loggers get next; ``trainer.logged_metrics`` are those that they got last."""
    return trainer._logger_connector.metrics["log"]
