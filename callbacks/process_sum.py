"""Sums over the processes of a run."""

from lightning.pytorch import Trainer
from torch import Tensor


def process_sum(trainer: Trainer, value: Tensor) -> Tensor:
    """The sum of every process's ``value``; all processes must take part."""
    total = trainer.strategy.reduce(value, reduce_op="sum")
    assert isinstance(total, Tensor)
    return total
