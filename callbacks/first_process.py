"""What only the first process computes."""

from collections.abc import Callable
from typing import TypeVar

from lightning.pytorch import Trainer

T = TypeVar("T")


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
