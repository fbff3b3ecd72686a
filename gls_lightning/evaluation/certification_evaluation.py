"""Complete certification in Lightning's test loop."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from gls_lightning.callbacks.first_process import on_first_process
from gls_lightning.certification import Certifier, Record, Verdict
from gls_lightning.certification.description import describe
from gls_lightning.certification.fingerprint import fingerprint
from gls_lightning.certification.record_directory import RecordDirectory
from gls_lightning.errors import ConfigurationError
from gls_lightning.evaluation.certification_options import CertificationOptions
from gls_lightning.evaluation.certification_progress import CertificationProgress
from gls_lightning.evaluation.certification_report import CertificationReport
from gls_lightning.evaluation.test_images import ChosenTestImages
from gls_lightning.module import CertifiedTrainingModule


class CertificationEvaluation(LightningModule):
    """Certifies test images, in place of the module's own test, and keeps the records in a directory.

    Only what the records there leave open is certified; several processes share it.

    Args:
        module: The module with the network.
        certifier: What decides.
        images: The test images.
        options: What is to be done.
        report: What is made of the records.

    Raises:
        ConfigurationError: When the test starts: options do not fit the data, or the directory's records are of
            something else.
        ContradictionError: When the test starts: records cannot both be true.
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

    def setup(self, stage: str) -> None:
        """Finds out which images are open."""
        trainer: Any = self.trainer
        if trainer.fast_dev_run or trainer.limit_test_batches != 1.0:
            raise ConfigurationError("trainer.fast_dev_run and trainer.limit_test_batches do not apply; use --samples")
        self.module.setup(stage)
        chosen = self.options.chosen(self.images.available)
        # On one process alone, so that all share the same images whatever others write meanwhile.
        self.directory, done = on_first_process(self.trainer, lambda: self._read(chosen))
        self.images.positions = [index for index in chosen if index not in done]
        if not self.images.positions:
            trainer.limit_test_batches = 0  # or Lightning warns of an empty DataLoader
        self.progress = CertificationProgress(self.trainer, done.values(), len(self.images.share))
        about = describe(self.certifier)
        self._file = self.directory.new_file(chosen, self.global_rank, about) if self.images.share else None

    def _read(self, chosen: range) -> tuple[RecordDirectory, dict[int, Record]]:
        """The directory, and the records there of images that are not open."""
        network = self.module.graph, self.module.tensors()
        name = type(self.images.data).__name__
        of_all = fingerprint(*network, self.options.epsilon, name, self.images.read_all(self.module.graph.num_outputs))
        directory = RecordDirectory(self.options.output, of_all)
        try:
            directory.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"output is {directory.path}: {error.strerror}; choose a directory") from error
        known = directory.read().records
        return directory, {i: known[i] for i in chosen if i in known and not self._is_open(directory, known[i])}

    def _is_open(self, directory: RecordDirectory, record: Record) -> bool:
        if self.options.counterexamples and record.verdict is Verdict.FALSIFIED:
            return not directory.counterexample(record.index).is_file()
        return self.options.retry_unknown and not record.verdict.decided

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Certifies a batch; each record is written as soon as its sample is decided."""
        assert self._file is not None
        size = self.images.batch_size
        positions = self.images.share[batch_idx * size : (batch_idx + 1) * size]
        with self.module.evaluation(batch, batch_idx) as (inputs, labels, _):
            indices = torch.tensor(positions, device=self.device)
            network = self.module.graph, self.module.tensors()
            for record in self.certifier.decide(*network, inputs, labels, indices, self.options.epsilon):
                if self.options.counterexamples:
                    self.directory.store_counterexample(record)
                self._file.append(record)
                self.progress.add(record)

    def teardown(self, stage: str) -> None:
        """Reports on the records of all processes."""
        self.progress.close()
        if self._file is not None:
            self._file.close()
        self.trainer.strategy.barrier("certification")
        if self.trainer.is_global_zero:
            self.report(self.trainer, self.module, self.directory)
