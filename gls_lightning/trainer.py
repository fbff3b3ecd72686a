"""Lightning's trainer, whose further methods are commands of ``gls``."""

from collections.abc import Callable
from functools import wraps
from typing import Any, get_args

from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.plugins.io import TorchCheckpointIO

from gls_lightning.arguments import require
from gls_lightning.callbacks import PacedProgressBar, TrainingPrecision
from gls_lightning.certification import Float32Precision
from gls_lightning.checkpoint_io import WholeCheckpointIO
from gls_lightning.command_line.model_commands.trainer_options import check_trainer_options
from gls_lightning.commands import MODEL_COMMANDS, command
from gls_lightning.commands.shared import EvaluatedModel
from gls_lightning.module import CertifiedTrainingModule


class GLSTrainer(Trainer):
    """Lightning's Trainer without inference mode, because attacks and bounds may need gradients in evaluation.

    Its checkpoints are written and read by :class:`gls_lightning.checkpoint_io.WholeCheckpointIO`. Every command on a
    model is a method of it: ``trainer.certify(model, datamodule, ckpt_path, samples=100)``, for example.

    Args:
        inference_mode: Lightning's option.
        float32_matmul_precision: Precision of products of float32 matrices and of convolutions in training, as
            ``torch.set_float32_matmul_precision`` names it: with ``highest`` neither takes TensorFloat-32, with
            ``high`` both do on a GPU. By default PyTorch's: convolutions take it, matrices do not.
            Validation and certification never do.
        **kwargs: Lightning's other options.

    Raises:
        ConfigurationError: An option is wrong, or not possible on this machine.
    """

    def __init__(
        self,
        *,
        inference_mode: bool = False,
        float32_matmul_precision: Float32Precision | None = None,
        **kwargs: Any,
    ) -> None:
        check_trainer_options(kwargs)
        _add_progress_bar(kwargs)
        known = get_args(Float32Precision)
        fits, right = float32_matmul_precision in (None, *known), f"one of {', '.join(known)}, or null"
        require(fits, "trainer.float32_matmul_precision", float32_matmul_precision, right)
        super().__init__(inference_mode=inference_mode, **kwargs)
        if float32_matmul_precision is not None:
            self.callbacks: list[Callback] = [TrainingPrecision(float32_matmul_precision), *self.callbacks]
        if type(self.strategy.checkpoint_io) is TorchCheckpointIO:
            self.strategy.checkpoint_io = WholeCheckpointIO()


def _add_progress_bar(options: dict[str, Any]) -> None:
    """Adds a progress bar to the callbacks, unless there is one or none is wanted."""
    given = options.get("callbacks") or []
    callbacks = [given] if isinstance(given, Callback) else [*given]
    wanted = options.get("enable_progress_bar") is not False and not options.get("barebones")
    if wanted and not any(isinstance(callback, ProgressBar) for callback in callbacks):
        options["callbacks"] = [*callbacks, PacedProgressBar()]


def _method(run: Callable[..., None]) -> Callable[..., None]:
    """Returns a method for a command, whose options, documentation and checks are those of its function."""

    @wraps(run)
    def method(
        self: GLSTrainer,
        model: CertifiedTrainingModule,
        datamodule: LightningDataModule,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
        **options: Any,
    ) -> None:
        run(EvaluatedModel(self, model, datamodule, ckpt_path, weights_only), **options)

    return method


for _name in MODEL_COMMANDS:
    setattr(GLSTrainer, _name, _method(command(_name)))
