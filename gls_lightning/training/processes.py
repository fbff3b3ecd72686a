"""Sums and results that all processes of a run share."""

from collections.abc import Callable
from typing import TypeVar

from lightning.pytorch import Trainer
from torch import Tensor

T = TypeVar("T")


def process_sum(trainer: Trainer, value: Tensor) -> Tensor:
    """The sum of every process's ``value``; all processes must take part."""
    total = trainer.strategy.reduce(value, reduce_op="sum")
    assert isinstance(total, Tensor)
    return total


def on_first_process(trainer: Trainer, compute: Callable[[], T]) -> T:
    """The same result, or the same error, on every process; all processes must take part."""
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
