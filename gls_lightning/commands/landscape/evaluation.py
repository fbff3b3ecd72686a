"""The loss landscape in Lightning's test loop."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor

from gls_lightning.commands.shared import progress_bar
from gls_lightning.diagnostics.landscape import Landscape, LossLandscape, landscape_loss, landscape_scores_by_name
from gls_lightning.module import CertifiedTrainingModule
from gls_lightning.objectives import Objective
from gls_lightning.training import process_sum


class LandscapeEvaluation(LightningModule):
    """Evaluation of one batch's loss around the module's parameters, in place of the module's own test.

    Several processes share the evaluations, each with the same images.

    Args:
        module: The module with the network.
        landscape: The directions, points and smoothing.
        report: Called with the landscape, and what else is to be known, at the end, on the first process.
        objective: What the loss is. By default the module's, or Certified where that bounds nothing.
        epsilon: Radius.
    """

    def __init__(
        self,
        module: CertifiedTrainingModule,
        landscape: LossLandscape,
        report: Callable[[Landscape, Mapping[str, Any]], None],
        *,
        objective: Objective | None,
        epsilon: float,
    ) -> None:
        super().__init__()
        self.module = module
        self.landscape = landscape
        self.report = report
        self.objective = objective
        self.epsilon = epsilon

    def setup(self, stage: str) -> None:
        """Checks the module."""
        self.module.setup(stage)
        total = len(self.landscape.relaxations) * self.landscape.evaluations // self.trainer.world_size
        self._bar = progress_bar(self.trainer, "landscape", "evaluation", total=total)

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Evaluates, and logs the scores."""
        with self.module.evaluation(batch, batch_idx) as images:
            self.loss = landscape_loss(self.module, images, objective=self.objective, epsilon=self.epsilon)
            self.result = self.landscape(
                self.loss,
                rank=self.global_rank,
                world_size=self.trainer.world_size,
                reduce=lambda value: process_sum(self.trainer, value),
                progress=self._bar.update,
            )
        for name, value in landscape_scores_by_name(self.result):
            self.log(name, value, batch_size=len(self.loss.batch.labels))

    def teardown(self, stage: str) -> None:
        """Reports."""
        self._bar.close()
        if self.trainer.is_global_zero and hasattr(self, "result"):
            about = {"objective": type(self.loss.objective).__name__, "epsilon": self.epsilon}
            about |= {"samples": len(self.loss.batch.labels), **self.landscape.about}
            self.report(self.result, about)
