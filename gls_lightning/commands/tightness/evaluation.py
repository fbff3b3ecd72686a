"""Tightness measured in Lightning's test loop."""

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from gls_lightning.commands.shared import ChosenTestImages
from gls_lightning.diagnostics import TightnessMeter
from gls_lightning.module import CertifiedTrainingModule
from gls_lightning.training import process_sum


class TightnessEvaluation(LightningModule):
    """Measurement of tightness on test images, in place of the module's own test.

    Logs ``tightness/auc/<relaxation>``. Several processes share the images.

    Args:
        module: The module with the network.
        meter: The meter, which counts.
        images: The test images.
        report: Called with the meter at the end, on the first process.
    """

    def __init__(
        self,
        module: CertifiedTrainingModule,
        meter: TightnessMeter,
        images: ChosenTestImages,
        report: Callable[[TightnessMeter], None],
    ) -> None:
        super().__init__()
        self.module = module
        self.meter = meter
        self.images = images
        self.report = report

    def setup(self, stage: str) -> None:
        """Checks the module, and takes this process's share of the images."""
        self.module.setup(stage)
        self._share = self.images.positions[self.trainer.global_rank :: self.trainer.world_size]
        # Lightning ends the test of a process without batches, for whose sums the others would wait.
        read = self._share or self.images.positions[:1]
        size = self.images.batch_size
        self.images.batches = [read[first : first + size] for first in range(0, len(read), size)]

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Measures a batch."""
        if self._share:
            with self.module.evaluation(batch, batch_idx) as (inputs, labels, _):
                self.meter.add(self.module.graph, self.module.tensors(), inputs, labels)

    def on_test_epoch_end(self) -> None:
        """Adds up the processes, and logs."""
        counts, samples = (
            process_sum(self.trainer, count.to(self.device)).cpu()
            for count in (self.meter.counts, torch.tensor(self.meter.samples))
        )
        self.meter.counts, self.meter.samples = counts, int(samples)
        for name, area in self.meter.result().auc.items():
            self.log(f"tightness/auc/{name}", area, rank_zero_only=True)

    def teardown(self, stage: str) -> None:
        """Reports, below the progress bar, which ends only now."""
        if self.trainer.is_global_zero:
            self.report(self.meter)
