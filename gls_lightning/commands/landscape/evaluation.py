"""The loss landscape in Lightning's test loop."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import LightningModule
from rich.console import Console
from rich.table import Table
from torch import Tensor

from gls_lightning.commands.progress_bar import progress_bar
from gls_lightning.diagnostics.landscape import (
    Landscape,
    LossLandscape,
    keep_landscape,
    landscape_loss,
    landscape_scores_by_name,
    score_table,
)
from gls_lightning.module import CertifiedTrainingModule
from gls_lightning.objectives import Objective
from gls_lightning.training import process_sum


class LandscapeEvaluation(LightningModule):
    """Looks at the loss of one batch around the module's parameters, in place of the module's own test.

    Several processes share the evaluations, each with the same images.

    Args:
        module: The module with the network.
        landscape: What evaluates.
        objective: What the loss is. By default the module's, or Certified where that bounds nothing.
        epsilon: Radius.
        checkpoint: Where the weights come from; None for those of the initialisation.
        output: Directory for numbers and pictures.
    """

    def __init__(
        self,
        module: CertifiedTrainingModule,
        landscape: LossLandscape,
        *,
        objective: Objective | None,
        epsilon: float,
        checkpoint: str | None,
        output: Path,
    ) -> None:
        super().__init__()
        self.module = module
        self.landscape = landscape
        self.objective = objective
        self.epsilon = epsilon
        self.checkpoint = checkpoint
        self.output = output

    def setup(self, stage: str) -> None:
        """Checks the module."""
        self.module.setup(stage)
        total = len(self.landscape.relaxations) * self.landscape.evaluations // self.trainer.world_size
        self._bar = progress_bar(self.trainer, "landscape", "evaluation", total=total)

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Evaluates, and logs the scores."""
        with self.module.evaluation(batch, batch_idx) as images:
            loss = landscape_loss(self.module, images, objective=self.objective, epsilon=self.epsilon)
            self.objective = loss.objective
            self.samples = len(images[1])
            self.result = self.landscape(
                loss,
                rank=self.global_rank,
                world_size=self.trainer.world_size,
                reduce=lambda value: process_sum(self.trainer, value),
                progress=self._bar.update,
            )
        for name, value in landscape_scores_by_name(self.result):
            self.log(name, value, batch_size=self.samples)

    def teardown(self, stage: str) -> None:
        """Reports."""
        self._bar.close()
        if self.trainer.is_global_zero and hasattr(self, "result"):
            self._report(self.result)

    def _report(self, landscape: Landscape) -> None:
        about = {
            "checkpoint": self.checkpoint,
            "network": type(self.module.network).__name__,
            "data": type(self.trainer.datamodule.data).__name__,  # type: ignore[attr-defined]
            "objective": type(self.objective).__name__,
            "epsilon": self.epsilon,
            "samples": self.samples,
            **self.landscape.about,
        }
        title = f"{about['network']}: {about['objective']}, epsilon {self.epsilon:.6g}, "
        title += f"{self.samples} test images of {about['data']}"
        console = Console(soft_wrap=True)
        if not landscape.is_plane:
            console.print(_table(landscape, title))
        for path in keep_landscape(self.trainer, landscape, self.output, title, about):
            console.print(f"{path.stem:<16} {path}")


def _table(landscape: Landscape, title: str) -> Table:
    columns, rows = score_table(landscape)
    table = Table(*(column.replace("_", " ") for column in columns), title=title)
    for relaxation, sigma, *numbers in rows:
        table.add_row(str(relaxation), f"{sigma:g}" if sigma else "original", *(f"{number:.4g}" for number in numbers))
    return table
