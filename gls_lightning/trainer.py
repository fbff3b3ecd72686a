"""Lightning's trainer, whose further methods are commands of ``gls``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

# Components are found by their class names alone once they are imported.
import gls_lightning.certification
import gls_lightning.data
import gls_lightning.networks
import gls_lightning.optimizers  # noqa: F401
from gls_lightning.arguments import Radius, read_radius, require_writable_directory, warn_of_large_radius
from gls_lightning.certification import Certifier, complete_certifier, select_stages
from gls_lightning.checkpoint_io import WholeCheckpointIO
from gls_lightning.command_line.model_commands.trainer_options import check_trainer_options
from gls_lightning.commands.certify.evaluation import CertificationEvaluation
from gls_lightning.commands.certify.options import CertificationOptions
from gls_lightning.commands.certify.report import CertificationReport
from gls_lightning.commands.chosen_images import ChosenTestImages
from gls_lightning.commands.landscape.evaluation import LandscapeEvaluation
from gls_lightning.commands.tightness.evaluation import TightnessEvaluation
from gls_lightning.commands.tightness.report import TightnessReport
from gls_lightning.diagnostics import LossLandscape, TightnessMeter, radius_grid
from gls_lightning.errors import ConfigurationError
from gls_lightning.module import CertifiedTrainingModule
from gls_lightning.objectives import Objective
from gls_lightning.relaxations import Relaxation
from gls_lightning.run_files import evaluation_directory
from gls_lightning.weights import read_checkpoint, read_weights


class GLSTrainer(Trainer):
    """Lightning's Trainer without inference mode, because attacks and bounds may need gradients in evaluation.

    Its checkpoints are written and read by :class:`gls_lightning.checkpoint_io.WholeCheckpointIO`.
    """

    def __init__(self, *, inference_mode: bool = False, **kwargs: Any) -> None:
        check_trainer_options(kwargs)
        super().__init__(inference_mode=inference_mode, **kwargs)
        if type(self.strategy.checkpoint_io) is TorchCheckpointIO:
            self.strategy.checkpoint_io = WholeCheckpointIO()

    def tightness(
        self,
        model: CertifiedTrainingModule,
        datamodule: LightningDataModule,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
        relaxations: list[Relaxation] | None = None,
        radii: Sequence[Radius] | None = None,
        max_epsilon: Radius | None = None,
        num_radii: int = 21,
        samples: int = 1000,
        output: Path | None = None,
    ) -> None:
        """Measure how tight relaxations are: certified accuracy over the radius, and the area under it.

        Args:
            model: The module with the network.
            datamodule: The test images.
            ckpt_path: Checkpoint with the weights, or ``.safetensors`` file of the network alone; by default those of
                the initialisation.
            weights_only: Whether objects other than tensors and plain values are refused; false trusts the checkpoint.
            relaxations: What to compare. By default IBP, HBox, CROWN-IBP and DeepPoly.
            radii: The radii, increasing; instead of an even grid.
            max_epsilon: Largest radius of an even grid that starts at 0. By default twice the model's epsilon.
            num_radii: Number of radii of the even grid.
            samples: How many test images to use, the first ones; all where there are fewer.
            output: Directory for the files. By default ``tightness/NAME`` in the run of the checkpoint NAME, or
                ``tightness`` here without one.

        Raises:
            ConfigurationError: A value is out of range, or the checkpoint does not fit.
        """
        if radii is None:
            largest = min(1.0, 2 * model.epsilon) if max_epsilon is None else read_radius(max_epsilon, "max_epsilon")
            radii = radius_grid(largest, num_radii)
        elif max_epsilon is not None:
            raise ConfigurationError(f"radii is {radii} and max_epsilon is {max_epsilon}; give one of them")
        meter = TightnessMeter(radii, relaxations)
        output = _output("tightness", ckpt_path, output)
        evaluation = TightnessEvaluation(model, meter, samples=samples, report=TightnessReport(ckpt_path, output))
        _load_weights(model, ckpt_path, weights_only)
        self.test(evaluation, datamodule=datamodule, verbose=False)

    def landscape(
        self,
        model: CertifiedTrainingModule,
        datamodule: LightningDataModule,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
        samples: int = 16,
        epsilon: Radius | None = None,
        objective: Objective | None = None,
        output: Path | None = None,
        **options: Any,
    ) -> None:
        """Look at the loss around the weights, as it is and smoothed, for several relaxations.

        Args:
            model: The module with the network.
            datamodule: The test images.
            ckpt_path: Checkpoint with the weights, or ``.safetensors`` file of the network alone; by default those of
                the initialisation.
            weights_only: Whether objects other than tensors and plain values are refused; false trusts the checkpoint.
            samples: How many test images the loss is of, the first ones; all where there are fewer.
            epsilon: Radius. By default the model's.
            objective: What the loss is. By default the model's, or Certified where that bounds nothing.
            output: Directory for numbers and pictures. By default ``landscape/NAME`` in the run of the
                checkpoint NAME, or ``landscape`` here without one.
            **options: Further options are those of LossLandscape.

        Raises:
            ConfigurationError: A value is out of range, or the checkpoint does not fit.
        """
        landscape = LossLandscape(**options)
        radius = _radius(model, epsilon)
        if samples < 1:
            raise ConfigurationError(f"samples is {samples}; it must be at least 1")
        output = _output("landscape", ckpt_path, output)
        images = ChosenTestImages(datamodule, samples, command="gls landscape")
        images.batches = [range(samples)]
        evaluation = LandscapeEvaluation(
            model,
            landscape,
            objective=objective,
            epsilon=radius,
            checkpoint=ckpt_path,
            output=output,
        )
        _load_weights(model, ckpt_path, weights_only)
        self.test(evaluation, datamodule=images, verbose=False)

    def certify(
        self,
        model: CertifiedTrainingModule,
        datamodule: LightningDataModule,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
        samples: int | None = None,
        start: int = 0,
        end: int | None = None,
        epsilon: Radius | None = None,
        stages: list[str] | None = None,
        time_limit: float | None = None,
        certifier: Certifier | None = None,
        counterexamples: bool = False,
        retry_unknown: bool = False,
        output: Path | None = None,
    ) -> None:
        """Decide for each test image whether its whole box is classified correctly; what is decided is kept.

        Args:
            model: The module with the network.
            datamodule: The test images.
            ckpt_path: Checkpoint with the weights, or ``.safetensors`` file of the network alone; by default those of
                the initialisation.
            weights_only: Whether objects other than tensors and plain values are refused; false trusts the checkpoint.
            samples: How many test images, in place of ``end``; all that follow where there are fewer.
            start: Position of the first one in the test set.
            end: Position behind the last one. By default the end of the test set.
            epsilon: Radius. By default the model's.
            stages: Names of the stages that run, in the certifier's order. By default all.
            time_limit: Seconds for each image that reaches branch and bound. By default 100.
            certifier: Certifies in place of PGD, IBP, CROWNIBP, DeepPoly, AlphaCROWN and BranchAndBound.
            counterexamples: Whether counterexamples are stored, too.
            retry_unknown: Whether images are tried again that earlier runs left unknown or failed at.
            output: Directory of the records, which a later run continues. By default
                ``certification/NAME`` in the run of the checkpoint NAME, or ``certification`` here without one.

        Raises:
            ConfigurationError: A value is out of range, the checkpoint does not fit, or the directory's records are of
                something else or damaged.
            SystemExit: With code 1, after all is done: some images are errors, for example because two results cannot
                both be true.
        """
        if certifier is None:
            certifier = complete_certifier(time_limit=100.0 if time_limit is None else time_limit)
        elif time_limit is not None:
            raise ConfigurationError(f"time_limit is {time_limit}, which a certifier has its own of; give one of them")
        if stages is not None:
            certifier = select_stages(certifier, stages)
        output = _output("certification", ckpt_path, output)
        options = CertificationOptions(
            epsilon=_radius(model, epsilon),
            output=output,
            start=start,
            end=end,
            samples=samples,
            counterexamples=counterexamples,
            retry_unknown=retry_unknown,
        )
        images = ChosenTestImages(datamodule, certifier.batch_size, command="gls certify")
        report = CertificationReport(ckpt_path, options)
        _load_weights(model, ckpt_path, weights_only)
        self.test(CertificationEvaluation(model, certifier, images, options, report), datamodule=images, verbose=False)
        if self.is_global_zero and (errors := report.errors()):
            sys.exit(f"gls: {errors}")

    def export(
        self,
        model: CertifiedTrainingModule,
        datamodule: LightningDataModule,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
        output: Path | None = None,
        samples: int = 100,
        start: int = 0,
        epsilon: Radius | None = None,
        timeout: float = 100.0,
    ) -> None:
        """Write the network and the robustness of test images for other verifiers, as ONNX and VNN-LIB.

        Args:
            model: The module with the network.
            datamodule: The test images.
            ckpt_path: Checkpoint with the weights, or ``.safetensors`` file of the network alone; by default those of
                the initialisation.
            weights_only: Whether objects other than tensors and plain values are refused; false trusts the checkpoint.
            output: Directory for the files. By default ``export/NAME`` in the run of the checkpoint NAME, or ``export``
                here without one.
            samples: How many test images get a property; all that follow where there are fewer.
            start: Position of the first one in the test set.
            epsilon: Radius of the properties. By default the model's.
            timeout: Seconds for each property, noted in ``instances.csv``.

        Raises:
            ConfigurationError: A value is out of range, the checkpoint does not fit, or a package is missing.
        """
        from gls_lightning.interchange.benchmark import read_samples, write_benchmark  # needs optional packages

        output = _output("export", ckpt_path, output)
        _load_weights(model, ckpt_path, weights_only)
        images = read_samples(datamodule, start, samples)
        radius = _radius(model, epsilon)
        write_benchmark(model.network, images, output, epsilon=radius, timeout=timeout)
        print(f"network and {len(images)} properties of radius {radius:g} in {output}")


def _output(name: str, ckpt_path: str | None, given: Path | None) -> Path:
    """The directory for results of this name, which can be written into."""
    output = evaluation_directory(name, ckpt_path) if given is None else given
    require_writable_directory(output, "output")
    return output


def _radius(model: CertifiedTrainingModule, given: Radius | None) -> float:
    """The radius that a command was given, or else the model's."""
    if given is None:
        return model.epsilon
    radius = read_radius(given)
    warn_of_large_radius(radius)
    return radius


def _load_weights(model: CertifiedTrainingModule, ckpt_path: str | None, weights_only: bool | None) -> None:
    if ckpt_path is not None and Path(ckpt_path).suffix == ".safetensors":
        model.network.load_state_dict(read_weights(ckpt_path, model.network))
    elif ckpt_path is not None:
        checkpoint = read_checkpoint(ckpt_path, weights_only=weights_only is not False)
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(checkpoint["state_dict"])
