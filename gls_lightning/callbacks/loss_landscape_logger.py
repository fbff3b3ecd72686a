"""The loss landscape during training."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gls_lightning.arguments import component, require
from gls_lightning.diagnostics.landscape import LossLandscape, keep_landscape, landscape_loss, landscape_scores_by_name
from gls_lightning.objectives import Objective
from gls_lightning.training import (
    ChosenEpochs,
    TrainingLoss,
    ValidationImages,
    bounded_network,
    process_sum,
    require_validation,
    run_directory,
)


class LossLandscapeLogger(Callback):
    """Looks at the loss around the network's parameters, after the validation of some epochs.

    The loss is that of the first validation images at the target radius, in float64, as a function of the trained
    parameters, BatchNorm with the statistics of these images. Logs the scores of each curve (paper, Fig. 5) as
    ``landscape/RELAXATION/SIGMA/SCORE``; pictures and tables go to W&B, pictures to TensorBoard, and both as files into
    ``landscape/epoch=E`` of the run's directory. The training is the same with and without, to the bit. Several
    processes share the evaluations.

    Args:
        samples: How many images.
        every_n_epochs: Looks after every so many epochs.
        epochs: The epochs, counted from 0, after which to look, in place of ``every_n_epochs``.
        objective: What the loss is. By default the module's, or Certified where that bounds nothing.
        **landscape: Further options are those of :class:`gls_lightning.diagnostics.LossLandscape`.

    Raises:
        ConfigurationError: A value is out of its range; when the fit starts: it has no validation, or a direction,
            a relaxation or the objective does not fit the network.
    """

    def __init__(
        self,
        *,
        samples: int = 16,
        every_n_epochs: int = 1,
        epochs: list[int] | None = None,
        objective: Objective | None = None,
        **landscape: Any,
    ) -> None:
        require(samples >= 1, "LossLandscapeLogger.samples", samples, "at least 1")
        self.samples = samples
        self.chosen_epochs = ChosenEpochs("LossLandscapeLogger", every_n_epochs, epochs)
        self.objective = component("objective", objective, Objective)
        self.landscape = LossLandscape(**landscape)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that there will be something to look at."""
        bounded_network(self, pl_module)
        require_validation(self, trainer)
        self.chosen_epochs.warn_of_absent(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at two images once, so that what does not fit fails now and not after epochs."""
        with self._loss(trainer, pl_module, min(2, self.samples)) as loss:
            self.landscape.rehearse(loss)

    @contextmanager
    def _loss(self, trainer: Trainer, pl_module: LightningModule, samples: int) -> Iterator[TrainingLoss]:
        """Gives the loss of the first validation images."""
        module = bounded_network(self, pl_module)
        batch = ValidationImages(self, trainer).first(samples)
        with module.evaluation(batch, 0, "val") as images:
            yield landscape_loss(module, images, objective=self.objective)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluates, logs and writes."""
        if not self.chosen_epochs.now(trainer):
            return
        with self._loss(trainer, pl_module, self.samples) as loss:
            landscape = self.landscape(
                loss,
                rank=trainer.global_rank,
                world_size=trainer.world_size,
                reduce=lambda value: process_sum(trainer, value),
            )
        for name, value in landscape_scores_by_name(landscape):
            pl_module.log(name, value)
        if trainer.is_global_zero:
            about = {
                "epoch": trainer.current_epoch,
                "step": trainer.global_step,
                "objective": type(loss.objective).__name__,
                "epsilon": loss.batch.epsilon.item(),
                "samples": len(loss.batch.labels),
                **self.landscape.about,
            }
            title = f"Epoch {about['epoch']}: {about['objective']}, epsilon {about['epsilon']:.6g}, "
            title += f"{about['samples']} validation images"
            directory = run_directory(trainer) or Path(trainer.default_root_dir)
            keep_landscape(trainer, landscape, directory / "landscape" / f"epoch={trainer.current_epoch}", title, about)
