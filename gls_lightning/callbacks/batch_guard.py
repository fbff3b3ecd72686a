"""Stops before numbers are shown that come from no data, or from bad ones."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from gls_lightning.errors import ConfigurationError
from gls_lightning.training import StepMetrics


class BatchGuard(Callback):
    """Ends a run whose loaders are empty, and reads the checks of batches that a GPU has noted.

    They are read where metrics are: after every ``trainer.log_every_n_steps`` steps, at the end of an epoch and of a
    validation, and before a checkpoint is written. On a CPU the module checks each batch at once.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses a fit whose validation has no batch.

        Raises:
            ConfigurationError: It has none.
        """
        if trainer.enable_validation and trainer.val_dataloaders is not None:
            _require_batches("val", sum(trainer.num_val_batches), trainer.limit_val_batches)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Reads what was noted, where this batch's numbers are logged.

        Lightning logs them too where another callback has just asked to stop, which the step could not foresee.
        """
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if trainer.is_last_batch or trainer.should_stop or (every and trainer.global_step % every == 0):
            self._read(pl_module)
        if trainer.should_stop:
            step_metrics: StepMetrics = pl_module.step_metrics  # type: ignore[assignment]
            step_metrics.log(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads what was noted, also where training stops within an epoch, and refuses an epoch without a batch."""
        self._read(pl_module)
        _require_batches("train", trainer.fit_loop.epoch_loop.batch_progress.current.ready)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads what was noted, and refuses a validation without a batch."""
        self._read(pl_module)
        in_fit = trainer.state.fn == TrainerFn.FITTING
        loop = trainer.fit_loop.epoch_loop.val_loop if in_fit else trainer.validate_loop
        _require_batches("val", loop.batch_progress.current.ready)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses a test without a batch."""
        _require_batches("test", trainer.test_loop.batch_progress.current.ready)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Reads what was noted, so that no checkpoint comes from bad values."""
        self._read(pl_module)

    def _read(self, pl_module: Any) -> None:
        pl_module.deferred_values.raise_if_bad()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses loaders without a batch, which Lightning passes over.

        Raises:
            ConfigurationError: They have none.
        """
        if stage == "fit":
            _require_batches("train", trainer.num_training_batches, trainer.limit_train_batches)
        elif stage == "validate":
            _require_batches("val", sum(trainer.num_val_batches), trainer.limit_val_batches)
        elif stage == "test":
            _require_batches("test", sum(trainer.num_test_batches), trainer.limit_test_batches)


def _require_batches(split: str, number: float, limit: float = 1) -> None:
    if number == 0 and limit != 0:
        raise ConfigurationError(
            f"the {split} data loader gives no batch; its data set is empty, or smaller than a batch where drop_last "
            "is true"
        )
