"""Population statistics for BatchNorm."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gls_lightning.training import bounded_network, indexed_training_loader, set_population_statistics


class BatchNormReset(Callback):
    """Sets BatchNorm's running statistics to those of the training set after each epoch (paper, App. D.1).

    They are the statistics of the network itself, not of the perturbed copies that an estimator evaluates. Each batch
    is normalised by itself, as in training; mean and variance of all batches are pooled. The training set is read
    through a loader of the callback's own, so the order of the training data is not disturbed, and divided among the
    processes. ``CertifiedTrainingModule`` adds this callback itself where the network has BatchNorm.
    """

    _stale = False

    def state_dict(self) -> dict[str, Any]:
        """Tells whether the weights have changed since the last reset."""
        return {"stale": self._stale}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what ``state_dict`` gave."""
        self._stale = state_dict["stale"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that the training data can be read once more.

        Raises:
            ConfigurationError: They cannot.
        """
        indexed_training_loader(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Resets the statistics after the last batch: what follows, validation and checkpoints, sees them."""
        self._stale = True
        if trainer.is_last_batch:
            self._reset(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Resets them for a validation within an epoch."""
        self._reset(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Resets them where training stops within an epoch."""
        self._reset(trainer, pl_module)

    def _reset(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._stale:
            self._stale = False
            set_population_statistics(trainer, bounded_network(self, pl_module))
