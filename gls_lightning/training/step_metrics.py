"""The numbers of a training step, and the steps at which they are read."""

from collections.abc import Mapping

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from gls_lightning.private_names import of_lightning


def metrics_are_due(trainer: Trainer) -> bool:
    """Says whether somebody looks at the numbers of the present batch, so that they are read from their device.

    They are read where loggers get them, every ``trainer.log_every_n_steps`` steps; where a validation, a checkpoint of
    ``every_n_train_steps``, the end of the epoch or that of the fit follows, since callbacks may monitor them; and at
    the first batch of an epoch, for the progress bar. All processes agree on it. To be asked within the training step.
    """
    loop = trainer.fit_loop.epoch_loop
    if loop.batch_progress.current.ready == 1 or of_lightning.ends_epoch(trainer):
        return True
    if not of_lightning.validates_by_time(trainer) and of_lightning.validation_follows(trainer):
        return True
    return not of_lightning.accumulates(trainer) and (
        of_lightning.logs_now(trainer)
        or bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
        or trainer.global_step + 1 == trainer.max_steps
        or of_lightning.checkpoint_follows(trainer)
    )


class StepMetrics:
    """The numbers of the last training step, on their device until they are logged."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._values = torch.empty(0)
        self._learning_rate: float | Tensor = 0.0

    def keep(self, loss: Tensor, values: Mapping[str, Tensor], learning_rate: float | Tensor) -> None:
        """Takes the numbers of a step; nothing is read from a device."""
        self._names = list(values)
        self._values = torch.stack([loss.detach(), *(value.to(loss.device) for value in values.values())])
        self._learning_rate = learning_rate

    def log(self, module: LightningModule) -> None:
        """Logs them, the loss as the mean over the processes; all must take part. Without a step it does nothing."""
        if not len(self._values):
            return
        loss = module.trainer.strategy.reduce(self._values[0].clone(), reduce_op="mean")
        assert isinstance(loss, Tensor)
        # Lightning reads what the progress bar shows after every step, which costs nothing on the CPU.
        module.log("train/loss", loss.cpu(), prog_bar=True)
        for name, value in zip(self._names, self._values[1:].cpu(), strict=True):
            module.log(name, value)
        module.log("learning_rate", self._learning_rate)
