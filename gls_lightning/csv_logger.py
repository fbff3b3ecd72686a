"""The metrics of a run in a file that is whole at every moment, and that a resumed run goes on with."""

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from gls_lightning.run_files import HPARAMS, METRICS, append_whole, flush, write_whole


class MetricRows:
    """Rows of metrics, and the file that they go to.

    Args:
        directory: Where the file lies. One that is there is replaced when the first rows are written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.metrics: list[dict[str, Any]] = []
        self._columns: list[str] = []
        self._kept: list[dict[str, Any]] = []
        self._held = False

    def go_on(self, step: int, unlogged: Mapping[str, Any]) -> None:
        """Keeps the rows that are there of steps before this one, and drops the others once a checkpoint is written.

        Args:
            step: The number of steps of the checkpoint that the run goes on from.
            unlogged: What was logged of these steps after the checkpoint; it is added where it is not there.
        """
        path = self.directory / METRICS
        self._kept = [row for row in _read(path) if int(row["step"]) < step] if path.is_file() else []
        last = [row for row in self._kept if int(row["step"]) == unlogged.get("step")]
        names = {name for row in last for name, value in row.items() if value}
        if not unlogged.keys() <= names:
            self._kept.append(dict(unlogged))
        self._held = True

    def log_metrics(self, metrics: Mapping[str, Any], step: int) -> None:
        """Adds a row."""
        values = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        self.metrics.append({**values, "step": step})

    def log_hparams(self, params: Mapping[str, Any]) -> None:
        """Writes the options of the run."""
        self.directory.mkdir(parents=True, exist_ok=True)
        write_whole(self.directory / HPARAMS, lambda draft: save_hparams_to_yaml(draft, dict(params)))

    def save(self) -> None:
        """Writes the rows that are not written yet, except those of a resumed run before its first checkpoint.

        Until then, the checkpoint of the largest step is one from before, whose rows are not to be lost.
        """
        if not self._held:
            self._write()

    def commit(self) -> None:
        """Writes all rows, and waits until they are on the disk."""
        self._write()
        if self._columns:
            flush(self.directory / METRICS)

    def _write(self) -> None:
        if not (self.metrics or self._kept):
            return
        path = self.directory / METRICS
        columns = sorted({*self._columns}.union(*self._kept, *self.metrics))
        if columns == self._columns and path.is_file():
            append_whole(path, _text(columns, self.metrics))
        else:
            before = _read(path) if self._columns and path.is_file() else self._kept
            content = _text(columns, [*before, *self.metrics], header=True)
            self.directory.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda draft: draft.write_bytes(content))
        self.metrics, self._kept, self._columns, self._held = [], [], columns, False


class RunCSVLogger(CSVLogger):
    """Lightning's CSVLogger, whose file a killed process or a full disk leaves whole.

    It writes also before each checkpoint, so that a run that goes on from there finds all rows before it.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The rows."""
        if self._experiment is None:
            self._experiment: Any = MetricRows(Path(self.log_dir))
        return self._experiment

    @rank_zero_only
    def go_on(self, step: int, unlogged: Mapping[str, Any]) -> None:
        """Goes on with the file that is there; see :meth:`MetricRows.go_on`."""
        self.experiment.go_on(step, unlogged)

    @rank_zero_only
    def commit(self) -> None:
        """Writes all rows, because a checkpoint is about to be written."""
        self.experiment.commit()

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Writes all rows, where nobody did before the checkpoint."""
        self.commit()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes all rows; of a resumed run that failed only those that a checkpoint needs."""
        if self._experiment is None:
            return
        if status == "failed":
            with suppress(OSError):  # which may be why it failed, and is reported
                self.experiment.save()
        else:
            self.experiment.commit()


def _read(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a file that are complete."""
    whole, _, _ = path.read_text(errors="replace").rpartition("\n")
    rows = csv.DictReader(StringIO(whole, newline=""))
    return [row for row in rows if None not in row and None not in row.values() and row.get("step", "").isdecimal()]


def _text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], header: bool = False) -> bytes:
    text = StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
