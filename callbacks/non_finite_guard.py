"""Stops before numbers that are not finite reach the weights."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from gls_lightning.callbacks.checkpoint_files import checkpoint_files
from gls_lightning.errors import ConfigurationError


class NonFiniteGuard(Callback):
    """Ends training at a loss or gradient that is not finite, before the optimizer's step.

    The weights stay as they were, and so do the checkpoints.
    """

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Checks the loss of this batch on every process.

        Raises:
            ConfigurationError: It is not finite on one of them.
        """
        if not trainer.strategy.reduce_boolean_decision(bool(torch.isfinite(loss)), all=True):
            self._stop(trainer, f"the loss is {loss.item()}")

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Checks the gradients, which are the same on every process.

        Raises:
            ConfigurationError: They are not finite.
        """
        if trainer.scaler is not None:  # it skips such steps itself, and then scales the loss less
            return
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            self._stop(trainer, "the gradient is not finite")

    def _stop(self, trainer: Trainer, what: str) -> None:
        kept = "".join(f"; the {name} is {path}" for name, path in checkpoint_files(trainer).items())
        batch = trainer.fit_loop.epoch_loop.total_batch_idx
        raise ConfigurationError(
            f"{what} at step {trainer.global_step} (batch {batch}, epoch {trainer.current_epoch}); a smaller learning "
            f"rate, gradient clipping or a slower epsilon_annealing may help{kept}"
        )
