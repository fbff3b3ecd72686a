"""The rest of the epoch in which a fit was stopped."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gls_lightning.private_names import of_lightning


class EpochResumption(Callback):
    """Lets a resumed fit end the epoch of its checkpoint as the fit that was not stopped.

    A checkpoint of Lightning holds no metrics, on which schedules and other callbacks depend; and where it was made
    after a batch that a validation follows, Lightning leaves that validation out, or goes on in its middle with images
    that it had before. Here the metrics are kept, and such a validation takes place from its beginning. Nor does the
    end of an epoch come twice, or an epoch that was cut short count as a whole one, where ``max_steps`` ends the fit.
    ``CertifiedTrainingModule`` adds this callback itself.
    """

    def __init__(self) -> None:
        self._validated = 0
        self._metrics: dict[str, Any] = {}
        self._schedules_due = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes after how many batches it was."""
        self._validated = trainer.fit_loop.epoch_loop.batch_progress.total.ready

    def state_dict(self) -> dict[str, Any]:
        """Gives the number of batches before the last validation."""
        return {"validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the number of ``state_dict``."""
        self._validated = state_dict["validated"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps the metrics, and what is still to come after the last batch."""
        loop: Any = trainer.fit_loop.epoch_loop
        batches, validated = loop.batch_progress, self._validated == loop.batch_progress.total.ready
        follows = 0 < batches.current.ready == batches.current.processed and not validated
        validation = follows and of_lightning.validation_follows(trainer)
        within_batch = batches.current.completed < batches.current.processed
        checkpoint["callback_metrics"] = {name: value.cpu() for name, value in trainer.callback_metrics.items()}
        checkpoint["validation_due"] = validation
        checkpoint["schedules_due"] = within_batch and batches.is_last_batch and not validation

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Corrects what Lightning's loops would go on from."""
        self._metrics = checkpoint.get("callback_metrics", {})
        self._schedules_due = checkpoint.get("schedules_due", False)
        if "fit_loop" in checkpoint.get("loops", {}):
            loops = checkpoint["loops"]["fit_loop"]
            _reopen_epoch_cut_short(loops["epoch_progress"], loops["epoch_loop.batch_progress"])
            if checkpoint.get("validation_due"):
                _begin_validation(loops["epoch_loop.batch_progress"], loops["epoch_loop.val_loop.batch_progress"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Brings back the metrics, and steps schedules that the end of the epoch would have stepped."""
        device = trainer.strategy.root_device
        trainer.callback_metrics.update({name: value.to(device) for name, value in self._metrics.items()})
        self._metrics = {}
        _close_epoch(trainer)
        if self._schedules_due and trainer.check_val_every_n_epoch in (None, 1):
            trainer.fit_loop.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
        self._schedules_due = False


def _reopen_epoch_cut_short(epochs: dict[str, Any], batches: dict[str, Any]) -> None:
    """Makes an epoch that ended before its last batch one that goes on."""
    if not batches["is_last_batch"] and batches["current"]["ready"]:
        for counts in (epochs["total"], epochs["current"]):
            if counts["ready"] == counts["processed"]:
                counts["processed"] -= 1
                counts["completed"] = counts["processed"]


def _begin_validation(batches: dict[str, Any], validation: dict[str, Any]) -> None:
    """Puts the loops before a validation: of one batch that was begun and not ended, as if it was stopped there."""
    for counts in (batches["total"], batches["current"]):
        counts["completed"] = counts["processed"]
    validation["total"] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    validation["current"] = dict.fromkeys(validation["total"], 0)


def _close_epoch(trainer: Trainer) -> None:
    """Goes on behind an epoch that has ended; with ``max_steps`` Lightning would end it once more."""
    loop: Any = trainer.fit_loop
    epochs = loop.epoch_progress
    if loop.restarting and epochs.current.ready == epochs.current.processed:
        for counts in (epochs.total, epochs.current):
            counts.completed = counts.processed
        for part in (loop, loop.epoch_loop, loop.epoch_loop.val_loop):
            of_lightning.start_afresh(part)
