"""Sums, shares and results of the processes of a run."""

from collections.abc import Callable
from typing import TypeVar

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from gls_lightning.errors import ConfigurationError
from gls_lightning.estimators import Reducer, alone

T = TypeVar("T")


def process_sum(trainer: Trainer, value: Tensor) -> Tensor:
    """Sums every process's ``value``; all processes must take part."""
    total = trainer.strategy.reduce(value, reduce_op="sum")
    assert isinstance(total, Tensor)
    return total


def on_first_process(trainer: Trainer, compute: Callable[[], T]) -> T:
    """Computes something once, and returns it, or raises its error, on every process; all must take part."""
    outcome: T | Exception | None = None
    if trainer.is_global_zero:
        try:
            outcome = compute()
        except Exception as error:
            outcome = error
    outcome = trainer.strategy.broadcast(outcome)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome  # type: ignore[return-value]


def share_of_batch(trainer: Trainer, samples: int, device: torch.device) -> Tensor | float:
    """Returns the factor that makes the mean over processes the mean over samples, though their batches differ."""
    if trainer.world_size == 1:
        return 1.0
    size = torch.tensor(float(samples), device=device)
    return size * trainer.world_size / process_sum(trainer, size.clone())


def reducer(trainer: Trainer, share: Tensor | float, *, of_population: bool) -> Reducer:
    """Returns the function that sums over the processes, weighted by their shares of the samples.

    Args:
        trainer: The trainer.
        share: This process's, from :func:`share_of_batch`.
        of_population: Whether the processes have the same batch and share out a population.
    """
    if trainer.world_size == 1:
        return alone
    weight = 1.0 if of_population else share / trainer.world_size
    return lambda value: process_sum(trainer, value * weight)


def require_equal_batches(trainer: Trainer, inputs: Tensor) -> None:
    """Refuses different batches on processes that share out a population."""
    checksum = inputs.double().sum()
    equal = torch.isclose(process_sum(trainer, checksum.clone()), checksum * trainer.world_size)
    if not trainer.strategy.reduce_boolean_decision(bool(equal), all=True):
        raise ConfigurationError(
            "population_parallel needs the same batch on every process, but the data module gives different ones"
        )
