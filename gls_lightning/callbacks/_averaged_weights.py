"""The callbacks that average the weights of a fit."""

from collections.abc import Callable, Iterator
from itertools import chain
from math import inf
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.arguments import require
from gls_lightning.errors import ConfigurationError
from gls_lightning.training import bounded_network, run_length, set_population_statistics


class AveragedWeights(WeightAveraging):
    """An average of the weights, in place of the weights wherever the network is looked at.

    Lightning's callback, with what it leaves to its users. Before the first average, validation and checkpoints see the
    network that trains, and from then on the averaged one, with BatchNorm statistics of its own (those of the training
    set, as :class:`BatchNormReset` computes them: one more pass over it for each epoch). Callbacks that look at the
    network in validation, such as ``PeriodicCertification``, see the averaged one too. A resumed fit continues with
    both networks. A checkpoint within an epoch, made for that, has the statistics of an earlier average.

    Args:
        start_epoch: Averaging starts with this epoch, counted from 0.
        every_n_steps: How many optimizer steps lie between two networks that are averaged.
        average: Averages in place, as PyTorch's ``AveragedModel`` takes it; None for the mean.

    Raises:
        ConfigurationError: ``start_epoch`` is negative or ``every_n_steps`` is below 1; when the fit starts:
            ``start_epoch`` is not before its end, or another callback averages too.
    """

    def __init__(self, *, start_epoch: int, every_n_steps: int, average: Callable[..., None] | None = None) -> None:
        self._name = type(self).__name__
        require(start_epoch >= 0, f"{self._name}.start_epoch", start_epoch, "at least 0")
        require(every_n_steps >= 1, f"{self._name}.every_n_steps", every_n_steps, "at least 1")
        # Buffers are copied: those of BatchNorm are computed anew, and a mean of the others means nothing.
        super().__init__(use_buffers=False, multi_avg_fn=average)
        self.start_epoch = start_epoch
        self.every_n_steps = every_n_steps
        self._epoch = 0
        self._stale = False  # whether BatchNorm's statistics are not yet those of the average
        self._swapped = False

    @property
    def averaging(self) -> bool:
        """True once there is an average."""
        return self._average_model is not None and bool(self._average_model.n_averaged > 0)

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.max_epochs is not None and 0 <= trainer.max_epochs <= self.start_epoch:
            raise ConfigurationError(
                f"{self._name} has start_epoch {self.start_epoch}, but training ends after {trainer.max_epochs} epochs"
            )
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if others := [type(c).__name__ for c in callbacks if isinstance(c, WeightAveraging) and c is not self]:
            raise ConfigurationError(f"{self._name} and {others[0]} both average the weights of this fit; choose one")
        super().setup(trainer, pl_module, stage)
        self._latest_update_step, self._epoch, self._stale = 0, 0, False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the average where the network is now, and in its precision: Lightning copies the network before."""
        self._follow(pl_module)

    def _follow(self, pl_module: LightningModule) -> None:
        average = self._average_model
        assert average is not None
        for averaged, trained in zip(_tensors(average.module), _tensors(pl_module), strict=True):
            averaged.data = averaged.data.to(trained)
        average.n_averaged = average.n_averaged.cpu()  # it is read in each update

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warns if no step of the fit is averaged."""
        length = run_length(trainer)
        start = self.start_epoch * length.steps_per_epoch
        if length.steps < inf and length.steps // self.every_n_steps <= start // self.every_n_steps:
            rank_zero_warn(
                f"{self._name} averages every {self.every_n_steps} steps from epoch {self.start_epoch} "
                f"(step {start:g}) on, but training ends with {length}: it never does"
            )

    @override
    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and self._epoch >= self.start_epoch and (step_idx + 1) % self.every_n_steps == 0

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._epoch = trainer.current_epoch
        before = self._latest_update_step
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._stale |= self._latest_update_step != before
        if trainer.is_last_batch:
            self._refresh(trainer, pl_module)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._refresh(trainer, pl_module)  # where training stops within an epoch

    def _refresh(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the averaged network BatchNorm statistics of its own."""
        if self._stale:
            self._swap_models(pl_module)
            self._set_statistics(trainer, pl_module)
            self._swap_models(pl_module)

    def _set_statistics(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = bounded_network(self, pl_module)
        if self._stale and module.graph.has_batch_norm:
            set_population_statistics(trainer, module)
        self._stale = False

    @override
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.averaging:
            self._swap_models(pl_module)
            self._set_statistics(trainer, pl_module)

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the averaged network in place for the other callbacks of this hook."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Goes on with the network that trains."""
        if self.averaging:
            self._swap_models(pl_module)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.averaging:
            self._swap_models(pl_module)
        else:
            rank_zero_warn(
                f"{self._name} averaged nothing: training ended before epoch {self.start_epoch}, or too soon after it "
                f"for every_n_steps {self.every_n_steps}"
            )

    @override
    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forgets the network that trained: evaluations after a fit use the averaged one."""
        self._average_model, self._swapped = None, False

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "stale": self._stale}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._stale = state_dict["stale"]

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self.averaging:
            return
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._swapped:
            trained, averaged = checkpoint["state_dict"], checkpoint["current_model_state"]
            checkpoint.update(state_dict=averaged, current_model_state=trained)

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._average_model is not None and "averaging_state" in checkpoint:
            self._follow(pl_module)
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())
