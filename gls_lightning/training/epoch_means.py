"""Means over the samples of an epoch, of all processes, also of an epoch that was interrupted."""

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torchmetrics import MeanMetric

from gls_lightning.training.processes import process_sum

_STATE = ("mean_value", "weight")


class _EpochMean(MeanMetric):
    """A mean that survives inference mode, in which Lightning resets it after ``validate``, for a later ``fit``."""

    @torch.inference_mode(False)
    def reset(self) -> None:
        super().reset()


class EpochMeans(nn.ModuleDict):
    """The means that a module logs, by name; the module's attribute ``means``."""

    def __init__(self) -> None:
        super().__init__()
        self._begun: dict[str, dict[str, Tensor]] = {}

    def log(
        self, module: LightningModule, name: str, value: Tensor | float, weight: float = 1.0, *, prog_bar: bool = False
    ) -> None:
        """Adds values to a mean, and lets Lightning log it at the end of the epoch."""
        if name not in self:
            self[name] = self._start(name, module.trainer).to(module.device)
        mean = self[name]
        assert isinstance(mean, MeanMetric)
        mean.update(value, weight)
        # The attribute is named because Lightning looks for metrics only once, before this one is there.
        module.log(name, mean, on_step=False, on_epoch=True, prog_bar=prog_bar, metric_attribute=f"means.{name}")

    def _start(self, name: str, trainer: Trainer) -> _EpochMean:
        """Makes a mean that begins with what is known of its epoch from before the fit was resumed."""
        mean = _EpochMean()
        if trainer.ckpt_path and trainer.is_global_zero:
            for part, value in self._begun.pop(name, {}).items():
                setattr(mean, part, value)
        return mean

    @property
    def of_training(self) -> list[str]:
        """The names of the means over training batches."""
        return [name for name in self if name.startswith("train/")]

    def begun(self, trainer: Trainer) -> dict[str, dict[str, Tensor]]:
        """Returns the state of the training's means over all processes, for a run that goes on within an epoch."""
        return {
            name: {part: process_sum(trainer, getattr(self[name], part).clone()) for part in _STATE}
            for name in self.of_training
        }

    def go_on(self, begun: dict[str, dict[str, Tensor]]) -> None:
        """Takes what :meth:`begun` gave."""
        self._begun = begun
