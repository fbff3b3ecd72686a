"""The last lines of a training run: its accuracies and its files."""

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from gls_lightning.errors import ConfigurationError
from gls_lightning.run_files import ACCURACY_METRICS, CONFIG, METRICS, STORAGE_ERRORS
from gls_lightning.training import bounded_network, checkpoint_files, run_directory
from gls_lightning.weights import read_checkpoint


class RunReport(Callback):
    """Prints the accuracies of the last validation as a table, then the paths of the run's files.

    After an interruption, it prints the checkpoint from which the run can go on; an error of a disk that takes no more
    gets a note that names the newest one that is whole.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints on the first process."""
        if not trainer.is_global_zero:
            return
        console = Console(soft_wrap=True)
        metrics = trainer.callback_metrics
        accuracies = {name: float(metrics[f"val/{name}"]) for name in ACCURACY_METRICS if f"val/{name}" in metrics}
        if accuracies:
            epsilon = bounded_network(self, pl_module).epsilon
            title = f"Last validation: {_validation_data(trainer)}, epsilon {epsilon:.6g}"
            table = Table(*(name.replace("_", " ") for name in accuracies), title=title)
            table.add_row(*(f"{value:.2%}" for value in accuracies.values()))
            console.print(table)
        for name, path in _files(trainer).items():
            console.print(f"{name:<16} {path}")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Prints on the first process, if it was interrupted."""
        path = checkpoint_files(trainer).get("last checkpoint")
        if trainer.is_global_zero and path and isinstance(exception, KeyboardInterrupt | SIGTERMException):
            print(f"gls: interrupted; resume with gls fit --ckpt_path {path}", file=sys.stderr)
        if isinstance(exception, OSError) and exception.errno in STORAGE_ERRORS:
            intact = _intact_checkpoint(trainer)
            note = f"the newest whole checkpoint is {intact}" if intact else "no checkpoint was written before"
            exception.add_note(note)


def _intact_checkpoint(trainer: Trainer) -> str:
    """Finds the newest checkpoint of the run that can be read, with its epoch and step; empty if there is none."""
    folders = {c.dirpath for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.dirpath}
    files = [file for folder in folders for file in Path(folder).glob("*.ckpt")]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            content = read_checkpoint(file)
        except ConfigurationError:
            continue
        return f"{file} (epoch {content['epoch']}, step {content['global_step']})"
    return ""


def _validation_data(trainer: Trainer) -> str:
    data: Any = getattr(trainer, "datamodule", None)
    kind = "test" if getattr(data, "validation_size", None) == 0 else "validation"
    images = f"{kind} images" if data is None else f"{kind} images of {type(data).__name__}"
    loader = trainer.val_dataloaders
    if not isinstance(loader, DataLoader) or loader.batch_size is None:
        return images
    batches = int(trainer.num_val_batches[0]) * trainer.world_size
    return f"{min(len(loader.dataset), batches * loader.batch_size)} {images}"  # type: ignore[arg-type]


def _files(trainer: Trainer) -> dict[str, str | Path]:
    """Returns the paths of the run's files, by what they hold."""
    files: dict[str, str | Path] = {**checkpoint_files(trainer)}
    directory = run_directory(trainer)
    if directory is not None and (directory / CONFIG).is_file():
        files["configuration"] = directory / CONFIG
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            files["metrics"] = Path(logger.log_dir, METRICS)
        elif logger.save_dir is not None:  # as in a trial run
            files.setdefault("metrics", logger.save_dir)
    return files
