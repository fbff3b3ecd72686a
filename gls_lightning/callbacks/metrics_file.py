"""The metrics of a run beside its checkpoints."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from gls_lightning.csv_logger import RunCSVLogger
from gls_lightning.private_names import of_lightning
from gls_lightning.run_files import run_of_checkpoint, set_metrics_aside
from gls_lightning.training import run_directory


class MetricsFile(Callback):
    """Keeps ``metrics.csv`` in the directory of a run whole, also where its loggers, W&B for example, write elsewhere.

    ``gls report`` reads it. Nothing is done without any logger, or with ``trainer.fast_dev_run``. A run that goes on
    from a checkpoint in its directory goes on with the file from that step; of a run that starts anew there, the file
    before is kept as ``metrics-1.csv`` and so on.
    """

    def __init__(self) -> None:
        self._resumed_step, self._unlogged = 0, dict[str, Any]()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Notes where the run goes on."""
        self._resumed_step, self._unlogged = checkpoint["global_step"], checkpoint.get("unlogged_metrics", {})

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Adds the logger, and lets it go on."""
        directory = run_directory(trainer)
        if trainer.fast_dev_run or not trainer.loggers or directory is None:  # type: ignore[attr-defined]
            return
        goes_on = bool(trainer.ckpt_path) and _is_same(run_of_checkpoint(Path(str(trainer.ckpt_path))), directory)
        present = [log for log in trainer.loggers if isinstance(log, CSVLogger) and _is_same(log.log_dir, directory)]
        if not present:
            if not goes_on and trainer.is_global_zero:
                set_metrics_aside(directory)
            present = [RunCSVLogger(directory, name="", version="")]
            trainer.loggers = [*trainer.loggers, *present]
        for logger in present:
            if goes_on and isinstance(logger, RunCSVLogger):
                logger.go_on(self._resumed_step, self._unlogged)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Writes what is logged, and puts into the checkpoint what Lightning logs of its last step only behind it."""
        for logger in trainer.loggers:
            if isinstance(logger, RunCSVLogger):
                logger.commit()
        checkpoint["unlogged_metrics"] = _unlogged(trainer)


def _is_same(one: str | Path, other: Path) -> bool:
    return Path(one).resolve() == other.resolve()


def _unlogged(trainer: Trainer) -> dict[str, Any]:
    """Returns the row that Lightning logs next, if it belongs to what is done.

    Its callbacks are called at the end of a batch and of an epoch before the loggers.
    """
    loop: Any = trainer.fit_loop
    epochs, batches = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current
    step = of_lightning.step_of_metrics(trainer)
    if batches.completed < batches.processed:
        if of_lightning.accumulates(trainer) or not of_lightning.logs_now(trainer):
            return {}
    elif epochs.completed < epochs.processed:
        step -= 1
    else:
        return {}
    metrics = of_lightning.metrics_to_log(trainer).items()
    values = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics}
    return {"epoch": trainer.current_epoch, **values, "step": step} if values else {}
