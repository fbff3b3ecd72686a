"""Precision of products of float32 numbers in training."""

from contextlib import ExitStack

from lightning.pytorch import Callback, LightningModule, Trainer

from gls_lightning.certification import Float32Precision, float32_precision


class TrainingPrecision(Callback):
    """Sets the precision of products of float32 matrices and of convolutions for a fit, and restores it at its end.

    Validation and certification within the fit compute without TensorFloat-32 all the same. ``GLSTrainer`` adds this
    callback for its option ``float32_matmul_precision``.

    Args:
        precision: ``highest`` or ``high``; see :func:`gls_lightning.certification.float32_precision`.
    """

    def __init__(self, precision: Float32Precision) -> None:
        self.precision: Float32Precision = precision
        self._settings = ExitStack()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Sets the precision of a fit, in each of its processes."""
        if stage == "fit":
            self._settings.enter_context(float32_precision(self.precision))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restores the settings."""
        self._settings.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restores the settings where a fit ends with an error, after which nothing is torn down."""
        self._settings.close()
