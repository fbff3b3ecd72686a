"""The model that a command evaluates."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from gls_lightning.arguments import Radius, read_radius, require_writable_directory, warn_of_large_radius
from gls_lightning.module import CertifiedTrainingModule
from gls_lightning.run_files import evaluation_directory
from gls_lightning.weights import read_checkpoint, read_weights


@dataclass(frozen=True)
class EvaluatedModel:
    """Weights that are evaluated.

    The command line offers ``ckpt_path`` and ``weights_only`` as options of every command on a model.

    Args:
        trainer: The trainer that evaluates.
        model: The module with the network.
        datamodule: The test images.
        ckpt_path: Checkpoint with the weights, or ``.safetensors`` file of the network alone; by default those of
            the initialisation.
        weights_only: Whether objects other than tensors and plain values are refused; false trusts the checkpoint.
    """

    trainer: Trainer
    model: CertifiedTrainingModule
    datamodule: LightningDataModule
    ckpt_path: str | None = None
    weights_only: bool | None = None

    @property
    def about(self) -> dict[str, Any]:
        """The first entries of the files with results: the checkpoint, and the names of the network and of the data."""
        return {
            "checkpoint": self.ckpt_path,
            "network": type(self.model.network).__name__,
            "data": type(self.datamodule).__name__,
        }

    def radius(self, given: Radius | None) -> float:
        """Returns the radius that a command was given, or else the model's.

        Raises:
            ConfigurationError: It does not lie between 0 and 1.
        """
        if given is None:
            return self.model.epsilon
        radius = read_radius(given)
        warn_of_large_radius(radius)
        return radius

    def directory(self, name: str, given: Path | None) -> Path:
        """Returns the directory for results of this name: the one that a command was given, or else the run's.

        Raises:
            ConfigurationError: Nothing can be written there.
        """
        directory = evaluation_directory(name, self.ckpt_path) if given is None else given
        require_writable_directory(directory, "output")
        return directory

    def load_weights(self) -> None:
        """Loads the weights into the model.

        Raises:
            ConfigurationError: They do not fit, or cannot be read.
        """
        if self.ckpt_path is not None and Path(self.ckpt_path).suffix == ".safetensors":
            self.model.network.load_state_dict(read_weights(self.ckpt_path, self.model.network))
        elif self.ckpt_path is not None:
            checkpoint = read_checkpoint(self.ckpt_path, weights_only=self.weights_only is not False)
            self.model.on_load_checkpoint(checkpoint)
            self.model.load_state_dict(checkpoint["state_dict"])

    def test(self, evaluation: LightningModule, images: LightningDataModule) -> None:
        """Loads the weights and runs an evaluation of the model in the trainer's test loop."""
        self.load_weights()
        self.trainer.test(evaluation, datamodule=images, verbose=False)
