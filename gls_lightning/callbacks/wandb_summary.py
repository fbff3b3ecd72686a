"""The summary of a run in W&B."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from gls_lightning.run_files import ACCURACY_METRICS

SUMMARIES = {
    **{f"{of}/{name}": "max" for of in ("val", "certification") for name in ACCURACY_METRICS},
    "val/loss": "min",
}
"""The metrics of which a run's summary keeps the best value, beside the last one; all at the target radius."""


class WandbSummary(Callback):
    """Has the summary of a W&B run keep the best accuracies at the target radius: ``val/certified_accuracy.max``.

    ``CertifiedTrainingModule`` adds this callback itself; without a WandbLogger it does nothing.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Defines the summaries, on the first process."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                for name, best in SUMMARIES.items():
                    logger.experiment.define_metric(name, step_metric="trainer/global_step", summary=f"{best},last")
