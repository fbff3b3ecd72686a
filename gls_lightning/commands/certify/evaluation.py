"""Complete certification in Lightning's test loop."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from gls_lightning.certification import (
    Certifier,
    Claims,
    Found,
    OpenSamples,
    RecordDirectory,
    RecordFile,
    Verdict,
    describe,
    fingerprint,
)
from gls_lightning.commands.shared import ChosenTestImages, progress_bar
from gls_lightning.errors import ConfigurationError
from gls_lightning.module import CertifiedTrainingModule
from gls_lightning.training import on_first_process


class CertificationEvaluation(LightningModule):
    """Certification of test images, in place of the module's own test, with records in a directory.

    Only what the records there leave open is certified; all processes that are at work there share it.

    Args:
        module: The module with the network.
        certifier: The certifier, which decides.
        images: The test images.
        report: Called at the end, on the first process, with the records' directory, the claims there and the
            positions of the images.
        epsilon: Radius.
        output: Directory of the records.
        counterexamples: Whether counterexamples are stored, too.
        retry_unknown: Whether samples that earlier runs could not decide are tried again.
        elsewhere: Lets other processes decide in place of this one, and waits for them; called with a function that
            says whether all is decided, returns what was wrong with some of them.

    Attributes:
        left_open: What the other processes should have decided but did not, in words; None if there is nothing.

    Raises:
        ConfigurationError: When the test starts: the trainer is to test less than all, or the directory's records are
            of something else or damaged; later: the directory takes no more.
    """

    def __init__(
        self,
        module: CertifiedTrainingModule,
        certifier: Certifier,
        images: ChosenTestImages,
        report: Callable[[RecordDirectory, Claims, range], None],
        *,
        epsilon: float,
        output: Path,
        counterexamples: bool,
        retry_unknown: bool,
        elsewhere: Callable[[Callable[[], bool]], Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.certifier = certifier
        self.images = images
        self.report = report
        self.epsilon = epsilon
        self.output = output
        self.counterexamples = counterexamples
        self.retry_unknown = retry_unknown
        self.elsewhere = elsewhere
        self.left_open: str | None = None
        self._file: RecordFile | None = None

    def setup(self, stage: str) -> None:
        """Finds out which images are open."""
        trainer: Any = self.trainer
        if trainer.fast_dev_run or trainer.limit_test_batches != 1.0:
            raise ConfigurationError("trainer.fast_dev_run and trainer.limit_test_batches do not apply; use --samples")
        self.module.setup(stage)
        # On one process alone, so that all agree whether there is anything to do, whatever others write meanwhile.
        self.directory, found, self._earlier = on_first_process(self.trainer, self._read)
        decided = self._decided(found)
        number = len(self.images.positions)
        self._bar = progress_bar(trainer, "certify", "sample", total=number, initial=decided.total())
        self._show(decided)
        open_ = self._open(found)
        if open_ and self.elsewhere is not None:
            self.left_open = self._decide_elsewhere(self.elsewhere)
            open_ = []
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

    def _read(self) -> tuple[RecordDirectory, Found, set[str]]:
        """Returns the directory, what is there, and in which files of processes that have ended."""
        network = self.module.graph, self.module.tensors()
        name = type(self.images.data).__name__
        labels: list[int] = []

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for images, classes in self.images.read_all(self.certifier.batch_size, self.module.graph.num_outputs):
                labels.extend(classes.tolist())
                yield images, classes

        of_all = fingerprint(*network, self.epsilon, name, batches())
        directory = RecordDirectory(self.output, of_all, labels)
        try:
            directory.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"output is {directory.path}: {error.strerror}; choose a directory") from error
        found, claims = directory.read(), Claims(directory.claims)
        earlier = {name for name, attempts in found.attempts.items() if attempts and not claims.is_written(name)}
        claims.close()
        return directory, found, earlier

    def _decide_elsewhere(self, elsewhere: Callable[[Callable[[], bool]], Mapping[str, str]]) -> str | None:
        """Waits for other processes; returns in words what they have left open, or None."""
        failures = elsewhere(self._all_decided)
        claims = Claims(self.directory.claims)  # not before, or each would leave this process a part of the work
        left = [index for index in self._open(self.directory.read()) if not claims.is_taken(index)]
        claims.close()
        why = f", because {' and '.join(failures)} failed" if failures else ""
        return f"{len(left)} samples are still open{why}; the same command goes on" if left else None

    def _all_decided(self) -> bool:
        """Shows what there is by now; says whether that is all."""
        found = self.directory.read()
        if (decided := self._decided(found)).total() > self._bar.n:
            self._show(decided)
        return not self._open(found)

    def _open(self, found: Found) -> list[int]:
        return [index for index in self.images.positions if self._is_open(index, found)]

    def _is_open(self, index: int, found: Found) -> bool:
        """Says whether an image is to be decided, and no process that was at work meanwhile has done so."""
        record = found.records.get(index)
        if record is None:
            return True
        if self.counterexamples and record.verdict is Verdict.FALSIFIED:
            return not self.directory.counterexample(index).is_file()
        if record.verdict.decided or not self.retry_unknown or index in found.contradictory:
            return False
        return all(name in self._earlier or not attempts[index] for name, attempts in found.attempts.items())

    def _decided(self, found: Found) -> Counter[Verdict]:
        """Counts the verdicts on the images that are not open, by whichever process."""
        known = (index for index in self.images.positions if index in found.records)
        return Counter(found.records[index].verdict for index in known if not self._is_open(index, found))

    def _show(self, decided: Counter[Verdict]) -> None:
        """Shows the verdicts beside the bar, which counts samples; Lightning's would count batches."""
        self._bar.set_postfix({verdict.value: decided[verdict] for verdict in Verdict}, refresh=False)
        self._bar.update(decided.total() - self._bar.n)

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Certifies a batch; each record is written as soon as its sample is decided."""
        if self._file is None:
            about = describe(self.certifier)
            self._file = self.directory.new_file(self.images.positions, self.global_rank, about)
            self.claims.own(self._file.path.name)
        decided = self._decided(self.open.found)
        self._show(decided)
        with self.module.evaluation(batch, batch_idx) as (inputs, labels, _):
            indices = torch.tensor(self.open.batch, device=self.device)
            network = self.module.graph, self.module.tensors()
            for record in self.certifier.decide(*network, inputs, labels, indices, self.epsilon):
                if self.counterexamples:
                    self.directory.store_counterexample(record)
                self._file.append(record)
                decided[record.verdict] += 1
                self._show(decided)
        self._file.sync()

    def teardown(self, stage: str) -> None:
        """Reports on the records of all processes."""
        self._bar.close()
        if self._file is not None:
            self._file.close()
        self.claims.give_back()
        self.trainer.strategy.barrier("certification")
        if self.trainer.is_global_zero:
            self.report(self.directory, self.claims, self.images.positions)
        self.claims.close()
