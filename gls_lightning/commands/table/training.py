"""A row trained with one seed: what of it is done, by its files, and doing the rest."""

import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from gls_lightning.commands.table.options import named
from gls_lightning.configuration import compose
from gls_lightning.errors import ConfigurationError
from gls_lightning.executors import exclusive, run_gls
from gls_lightning.reports import FlatConfig, flatten, held_out_images, read_metrics
from gls_lightning.run_files import CHECKPOINTS, CONFIG, DAMAGE, CertificationSummary, ResultFile, evaluation_directory

Weights = Literal["best", "last"]
"""The checkpoints that may be certified."""


@dataclass(frozen=True)
class Finished(ResultFile):
    """Content of ``finished.json``, which says that the training has ended as it should.

    Attributes:
        run: Name of the run's directory, beside the file.
    """

    FILE: ClassVar[str] = "finished.json"

    run: str


@dataclass(frozen=True)
class Training:
    """A row, trained with one seed.

    Attributes:
        name: Name of the row.
        config: Its configuration.
        seed: The seed.
        table: Directory of the table.
        overrides: Options of the training and of its certification.
        certify: Options of the certification.
        weights: Which checkpoint is certified; None for the best one where held-out images chose it, else the last.
        tuned: Options whose values were not the only ones to be tried.
        start: The training of the network that it starts from.
    """

    name: str
    config: Path
    seed: int
    table: Path
    overrides: Sequence[str] = ()
    certify: Sequence[str] = ()
    weights: Weights | None = None
    tuned: Sequence[str] = ()
    start: "Training | None" = None

    @property
    def label(self) -> str:
        """Tells it from the other trainings, and names its folder."""
        tuned = "".join(f"_{key}={value}" for key, value in named(self.tuned).items())
        return f"{self.name}{re.sub(r'[^-+=.,A-Za-z0-9]+', '_', tuned)}_seed_{self.seed}"

    @property
    def folder(self) -> Path:
        """The folder of its runs."""
        return self.table / self.label

    @property
    def run(self) -> Path | None:
        """The directory of the finished run; None if there is none."""
        try:
            run = self.folder / Finished.read(self.folder / Finished.FILE).run
        except DAMAGE:
            return None
        return run if (run / CHECKPOINTS / "last.ckpt").is_file() else None

    @cached_property
    def settings(self) -> FlatConfig:
        """The configuration of the finished run; kept, as each job's end reads all anew."""
        assert self.run is not None, "the training has finished"
        return flatten(compose(self.run / CONFIG).content)

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint that is certified; None if training is not finished, or did not leave it."""
        if (run := self.run) is None:
            return None
        weights = self.weights or ("best" if held_out_images(self.settings) else "last")
        pattern = {"last": "last.ckpt", "best": "best-*.ckpt"}[weights]
        found = sorted((run / CHECKPOINTS).glob(pattern))
        return found[0] if len(found) == 1 else None

    @property
    def held_out_accuracy(self) -> float | None:
        """The certified accuracy of the checkpoint on held-out images; None if there is no finite one."""
        if (run := self.run) is None or (checkpoint := self.checkpoint) is None:
            return None
        metrics = read_metrics(run)
        best = re.match(r"best-epoch=(\d+)", checkpoint.name)
        accuracy = metrics.curve("val/certified_accuracy").get(int(best[1]) if best else metrics.epochs - 1)
        return None if accuracy is None or not math.isfinite(accuracy) else accuracy

    @property
    def summary(self) -> CertificationSummary | None:
        """The result of the complete certification; None if it is not complete."""
        if (checkpoint := self.checkpoint) is None:
            return None
        folder = evaluation_directory(CertificationSummary.DIRECTORY, checkpoint)
        try:
            summary = CertificationSummary.read(folder / CertificationSummary.FILE)
        except DAMAGE:
            return None
        return None if summary.missing or summary.errors else summary

    def words(self, command: str) -> list[str]:
        """Returns the beginning of a command line for it."""
        words = [command, "--config", str(self.config), f"--seed_everything={self.seed}"]
        return [*words, "--trainer.enable_progress_bar=false", *self.overrides, *self.tuned]

    def train(self) -> None:
        """Trains, from where an earlier training ended; does nothing where one has finished."""
        with exclusive(self.folder) as lock:
            if self.run is not None:
                return
            begun = [run for run in self._runs() if (run / CHECKPOINTS / "last.ckpt").is_file()]
            for run in self._runs():
                if run not in begun and not any((run / CHECKPOINTS).glob("*")):
                    shutil.rmtree(run)  # it ended before its first checkpoint
            words = [*self.words("fit"), "--trainer.logger=gls_lightning.csv_logger.RunCSVLogger"]
            words += [f"--trainer.logger.save_dir={self.table}", f"--trainer.logger.name={self.label}"]
            if self.start is not None:
                assert self.start.run is not None, "the first stage is trained before"
                words.append(f"--model.init_from={self.start.run / CHECKPOINTS / 'last.ckpt'}")
            if begun:
                words += ["--ckpt_path", str(begun[-1] / CHECKPOINTS / "last.ckpt")]
            run_gls(words, lock)
            Finished(self._runs()[-1].name).write(self.folder)

    def certify_weights(self) -> None:
        """Certifies the weights; decides only what is open, together with others that are at it."""
        if self.summary is not None:
            return
        if (checkpoint := self.checkpoint) is None:
            raise ConfigurationError(f"{self.folder} has no such checkpoint, or several; use --weights=last")
        run_gls([*self.words("certify"), "--ckpt_path", str(checkpoint), *self.certify])

    def _runs(self) -> list[Path]:
        """Lists the directories of runs, the newest last."""
        found = (run for run in self.folder.glob("version_*") if run.name.removeprefix("version_").isdecimal())
        return sorted(found, key=lambda run: int(run.name.removeprefix("version_")))
