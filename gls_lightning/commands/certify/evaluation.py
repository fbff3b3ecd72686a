"""Complete certification in Lightning's test loop."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from gls_lightning.certification import (
    Certifier,
    Claims,
    Found,
    OpenSamples,
    Record,
    RecordDirectory,
    RecordFile,
    Verdict,
    describe,
    fingerprint,
)
from gls_lightning.commands.certify.options import CertificationOptions
from gls_lightning.commands.certify.progress import CertificationProgress
from gls_lightning.commands.certify.report import CertificationReport
from gls_lightning.commands.chosen_images import ChosenTestImages
from gls_lightning.errors import ConfigurationError
from gls_lightning.module import CertifiedTrainingModule
from gls_lightning.training import on_first_process


class CertificationEvaluation(LightningModule):
    """Certifies test images, in place of the module's own test, and keeps the records in a directory.

    Only what the records there leave open is certified; all processes that are at work there share it.

    Args:
        module: The module with the network.
        certifier: What decides.
        images: The test images.
        options: What is to be done.
        report: What is made of the records.

    Raises:
        ConfigurationError: When the test starts: options do not fit the data, or the directory's records are of
            something else or damaged; later: the directory takes no more.
    """

    def __init__(
        self,
        module: CertifiedTrainingModule,
        certifier: Certifier,
        images: ChosenTestImages,
        options: CertificationOptions,
        report: CertificationReport,
    ) -> None:
        super().__init__()
        self.module = module
        self.certifier = certifier
        self.images = images
        self.options = options
        self.report = report
        self._file: RecordFile | None = None

    def setup(self, stage: str) -> None:
        """Finds out which images are open."""
        trainer: Any = self.trainer
        if trainer.fast_dev_run or trainer.limit_test_batches != 1.0:
            raise ConfigurationError("trainer.fast_dev_run and trainer.limit_test_batches do not apply; use --samples")
        self.module.setup(stage)
        self.chosen = self.options.chosen(self.images.available)
        # On one process alone, so that all agree whether there is anything to do, whatever others write meanwhile.
        self.directory, found, self._earlier = on_first_process(self.trainer, self._read)
        open_ = [index for index in self.chosen if self._is_open(index, found)]
        if not open_:
            trainer.limit_test_batches = 0  # or Lightning warns of an empty loader
        self.claims = Claims(self.directory.claims)
        if self.claims.problem is not None:
            open_ = open_[trainer.global_rank :: trainer.world_size]
        self.open = self.images.batches = OpenSamples(
            self.directory,
            self.claims,
            open_,
            is_open=self._is_open,
            batch_size=self.certifier.batch_size,
            processes=trainer.world_size,
        )
        self.progress = CertificationProgress(self.trainer, len(self.chosen), self._decided(found))

    def _read(self) -> tuple[RecordDirectory, Found, set[str]]:
        """The directory, what is there, and in which files of processes that have ended."""
        network = self.module.graph, self.module.tensors()
        name = type(self.images.data).__name__
        labels: list[int] = []

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for images, classes in self.images.read_all(self.module.graph.num_outputs):
                labels.extend(classes.tolist())
                yield images, classes

        of_all = fingerprint(*network, self.options.epsilon, name, batches())
        directory = RecordDirectory(self.options.output, of_all, labels)
        try:
            directory.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"output is {directory.path}: {error.strerror}; choose a directory") from error
        found, claims = directory.read(), Claims(directory.claims)
        earlier = {name for name, attempts in found.attempts.items() if attempts and not claims.is_written(name)}
        claims.close()
        return directory, found, earlier

    def _is_open(self, index: int, found: Found) -> bool:
        """Says whether an image is to be decided, and no process that was at work meanwhile has done so."""
        record = found.records.get(index)
        if record is None:
            return True
        if self.options.counterexamples and record.verdict is Verdict.FALSIFIED:
            return not self.directory.counterexample(index).is_file()
        if record.verdict.decided or not self.options.retry_unknown or index in found.contradictory:
            return False
        return all(name in self._earlier or not attempts[index] for name, attempts in found.attempts.items())

    def _decided(self, found: Found) -> list[Record]:
        known = (index for index in self.chosen if index in found.records)
        return [found.records[index] for index in known if not self._is_open(index, found)]

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Certifies a batch; each record is written as soon as its sample is decided."""
        if self._file is None:
            about = describe(self.certifier)
            self._file = self.directory.new_file(self.chosen, self.global_rank, about)
            self.claims.own(self._file.path.name)
        self.progress.show(self._decided(self.open.found))
        with self.module.evaluation(batch, batch_idx) as (inputs, labels, _):
            indices = torch.tensor(self.open.batch, device=self.device)
            network = self.module.graph, self.module.tensors()
            for record in self.certifier.decide(*network, inputs, labels, indices, self.options.epsilon):
                if self.options.counterexamples:
                    self.directory.store_counterexample(record)
                self._file.append(record)
                self.progress.add(record)
        self._file.sync()

    def teardown(self, stage: str) -> None:
        """Reports on the records of all processes."""
        self.progress.close()
        if self._file is not None:
            self._file.close()
        self.claims.give_back()
        self.trainer.strategy.barrier("certification")
        if self.trainer.is_global_zero:
            self.report(self.trainer, self.module, self.directory, self.claims)
        self.claims.close()
