"""Stops before numbers that are not finite reach the weights."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer

from gls_lightning.errors import ConfigurationError
from gls_lightning.training import (
    BoundedNetwork,
    cause_of_gradient,
    cause_of_loss,
    cause_of_weights,
    checkpoint_files,
    not_finite,
)


class NonFiniteGuard(Callback):
    """Ends training at a loss or gradient that is not finite, before the optimizer's step, and says what produced it.

    The weights stay as they were, and so do the checkpoints: weights that a step made not finite are not written.
    """

    _batch: Any = None
    _loss: Tensor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks what training starts with.

        Raises:
            ConfigurationError: A parameter or buffer is not finite.
        """
        if wrong := not_finite({**dict(pl_module.named_parameters()), **dict(pl_module.named_buffers())}):
            raise ConfigurationError(f"training would start with numbers that are not finite: {wrong}")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keeps the batch, to be looked at if its loss is not finite."""
        self._batch = batch

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Checks the loss of this batch on every process.

        Raises:
            ConfigurationError: It is not finite on one of them.
        """
        self._loss = loss.detach()
        finite = bool(torch.isfinite(loss))
        if trainer.strategy.reduce_boolean_decision(finite, all=True):
            return
        if finite:
            self._stop(trainer, pl_module, "the loss of another process is not finite", "its message says why")
        cause = cause_of_loss(pl_module, self._batch, trainer.optimizers, trainer.global_step)
        self._stop(trainer, pl_module, f"the loss is {loss.item()}", cause)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Checks the gradients, which are the same on every process.

        Raises:
            ConfigurationError: They are not finite.
        """
        if trainer.scaler is not None:  # it skips such steps itself, and then scales the loss less
            return
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            cause = cause_of_gradient(pl_module, self._loss)
            self._stop(trainer, pl_module, "the gradient is not finite", cause)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lets go of the batch."""
        self._batch = self._loss = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Checks the weights that a fit is about to write.

        Raises:
            ConfigurationError: They are not finite.
        """
        if trainer.state.fn == TrainerFn.FITTING and (wrong := not_finite(checkpoint["state_dict"])):
            cause = cause_of_weights(wrong, pl_module, trainer.optimizers)
            self._stop(trainer, pl_module, "a checkpoint is not written", cause)

    def _stop(self, trainer: Trainer, pl_module: LightningModule, what: str, cause: str) -> None:
        # Lightning names a checkpoint before it is written.
        files = {name: path for name, path in checkpoint_files(trainer).items() if Path(path).exists()}
        kept = "".join(f"; the {name} is {path}" for name, path in files.items())
        batch = trainer.fit_loop.epoch_loop.total_batch_idx
        place = [f"batch {batch}", f"epoch {trainer.current_epoch}"]
        if isinstance(pl_module, BoundedNetwork):
            values = {"epsilon": pl_module.current_epsilon, **pl_module.estimator.reported()}
            place += [f"{name} {value.item():.3g}" for name, value in values.items()]
        raise ConfigurationError(f"{what} at step {trainer.global_step} ({', '.join(place)}): {cause}{kept}")
