"""Stops before numbers that are not finite reach the weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer

from gls_lightning.batches import reading_waits
from gls_lightning.errors import ConfigurationError
from gls_lightning.training import (
    BoundedNetwork,
    DeferredFiniteness,
    cause_of_gradient,
    cause_of_loss,
    cause_of_weights,
    checkpoint_files,
    gradient_norm,
    metrics_are_due,
    not_finite,
)


class NonFiniteGuard(Callback):
    """Ends training at a loss or gradient that is not finite, before the optimizer's step, and says what produced it.

    The weights stay as they were, and so do the checkpoints: weights that a step made not finite are not written.

    On a GPU, whose numbers training would have to wait for, this holds for the steps whose metrics are logged. In the
    steps between, loss and gradient are only noted. They are read in the next such step, at the end of the epoch and
    before a checkpoint is written; the message names the batch. A fused optimizer of PyTorch takes no step from that
    batch on, so that its weights stay as they were too.

    Args:
        asked_by: A method ``configure_gradient_clipping`` that asks for :meth:`check_gradient` itself, since it needs
            the norm. The gradients of modules with another one are checked just before it.
    """

    def __init__(self, asked_by: Callable[..., None] | None = None) -> None:
        self._asked_by = asked_by
        self._batch: Any = None
        self._loss: Tensor | None = None
        self._noted = DeferredFiniteness()
        self._due = True  # whether this batch's numbers are read, not noted

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
        self._due = not reading_waits(self._loss) or metrics_are_due(trainer)
        if not self._due:
            self._note(trainer, self._loss, "loss")
            return
        self._read(trainer, pl_module)
        finite = bool(torch.isfinite(loss))
        if trainer.strategy.reduce_boolean_decision(finite, all=True):
            return
        if finite:
            self._stop(trainer, pl_module, "the loss of another process is not finite", "its message says why")
        cause = cause_of_loss(pl_module, self._batch, trainer.optimizers, trainer.global_step)
        self._stop(trainer, pl_module, f"the loss is {loss.item()}", cause)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Checks the gradients, unless the module asks for it when it clips them.

        Raises:
            ConfigurationError: They are not finite.
        """
        if type(pl_module).configure_gradient_clipping is not self._asked_by:
            self.check_gradient(trainer, pl_module, optimizer)

    def check_gradient(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> Tensor | None:
        """Checks the gradients, which are the same on every process.

        Returns:
            Their norm; None where there are none, or where a gradient scaler checks them: it skips such steps itself,
            and then scales the loss less.

        Raises:
            ConfigurationError: They are not finite.
        """
        if trainer.scaler is not None or (norm := gradient_norm(trainer, optimizer)) is None:
            return None
        if not self._due:
            self._note(trainer, norm, "norm of the gradient")
            if self._noted.flag is not None:
                optimizer.found_inf = self._noted.flag  # type: ignore[attr-defined]
        elif not torch.isfinite(norm):
            cause = cause_of_gradient(pl_module, self._loss)
            self._stop(trainer, pl_module, "the gradient is not finite", cause)
        return norm

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lets go of the batch."""
        self._batch, self._loss, self._due = None, None, True

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Reads what was noted, and checks the weights that a fit is about to write.

        Raises:
            ConfigurationError: They are not finite, or what was noted is not.
        """
        self._read(trainer, pl_module)
        if trainer.state.fn == TrainerFn.FITTING and (wrong := not_finite(checkpoint["state_dict"])):
            cause = cause_of_weights(wrong, pl_module, trainer.optimizers)
            self._stop(trainer, pl_module, "a checkpoint is not written", cause)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads what was noted, also where training stops within an epoch.

        Raises:
            ConfigurationError: A number was not finite.
        """
        self._read(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets fused optimizers step again."""
        self._batch, self._loss, self._noted = None, None, DeferredFiniteness()
        for optimizer in trainer.optimizers:
            optimizer.__dict__.pop("found_inf", None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Lets fused optimizers step again."""
        self.on_fit_end(trainer, pl_module)

    def _note(self, trainer: Trainer, value: Tensor, what: str) -> None:
        batch = trainer.fit_loop.epoch_loop.total_batch_idx
        self._noted.note(value, what, batch, flag=trainer.scaler is None and _is_fused(trainer))

    def _read(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads what was noted, which all processes have noted of the same batches."""
        if not len(self._noted):
            return
        first = self._noted.first()
        if trainer.strategy.reduce_boolean_decision(first is None, all=True):
            return
        what = "a number of another process" if first is None else f"the {first.what} of batch {first.batch}"
        weights = "the weights are those before it" if _is_fused(trainer) else "later steps may have spoilt the weights"
        self._stop(
            trainer,
            pl_module,
            f"{what} was {'not finite' if first is None else first.value}, as was seen",
            f"a GPU's numbers are read where they are logged, and {weights}; with trainer.log_every_n_steps: 1 each "
            "batch is checked before its step, and the cause is named",
        )

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


def _is_fused(trainer: Trainer) -> bool:
    """Says whether every optimizer skips its step where its attribute ``found_inf``, made for scalers, is 1."""
    return all(group.get("fused") for optimizer in trainer.optimizers for group in optimizer.param_groups)
