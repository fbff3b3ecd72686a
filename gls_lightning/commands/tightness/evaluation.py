"""Tightness measured in Lightning's test loop."""

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from gls_lightning.commands.chosen_images import loader_of_test_images
from gls_lightning.commands.tightness.report import TightnessReport
from gls_lightning.diagnostics import TightnessMeter
from gls_lightning.errors import ConfigurationError
from gls_lightning.module import CertifiedTrainingModule
from gls_lightning.training import process_sum


class TightnessEvaluation(LightningModule):
    """Measures tightness on the first test images, in place of the module's own test.

    Logs ``tightness/auc/<relaxation>``. Several processes share the images.

    Args:
        module: The module with the network.
        meter: What counts.
        samples: How many images at most.
        report: What is made of the result.

    Raises:
        ConfigurationError: ``samples`` is below 1; when the test starts: the data have no single DataLoader.
    """

    def __init__(
        self, module: CertifiedTrainingModule, meter: TightnessMeter, *, samples: int, report: TightnessReport
    ) -> None:
        super().__init__()
        if samples < 1:
            raise ConfigurationError(f"samples is {samples}; it must be at least 1")
        self.module = module
        self.meter = meter
        self.samples = samples
        self.report = report

    def setup(self, stage: str) -> None:
        """Checks the module, and lets the test end with the last sample."""
        self.module.setup(stage)
        loader = loader_of_test_images(self.trainer.datamodule, "gls tightness")  # type: ignore[attr-defined]
        assert loader.batch_size is not None
        if self.trainer.limit_test_batches == 1.0 and isinstance(self.trainer.limit_test_batches, float):
            self.trainer.limit_test_batches = -(-self._share(0) // loader.batch_size)

    def _share(self, rank: int) -> int:
        """How many of the samples this process measures."""
        return len(range(rank, self.samples, self.trainer.world_size))

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Measures a batch."""
        left = self._share(self.global_rank) - self.meter.samples
        if left > 0:
            with self.module.evaluation(batch, batch_idx) as (inputs, labels, _):
                self.meter.add(self.module.graph, self.module.tensors(), inputs[:left], labels[:left])

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
            self.report(self.trainer, self.module, self.meter)
