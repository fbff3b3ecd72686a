"""The command line: Lightning's, with this package's components and defaults."""

import logging
import signal
import sys
import warnings
from argparse import SUPPRESS, Action
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException

# Components are found by their class names alone once they are imported.
import gls_lightning.certification
import gls_lightning.data
import gls_lightning.networks
import gls_lightning.optimizers  # noqa: F401
from gls_lightning.callbacks import EpsilonAnnealing, MetricsFile, RunCheckpoint, RunReport, SaveRunConfig, SigmaDecay
from gls_lightning.callbacks.refused_run import RefusedRun
from gls_lightning.certification import Certifier, complete_certifier
from gls_lightning.certification.complete_certifier import select_stages
from gls_lightning.checkpoint_io import WholeCheckpointIO
from gls_lightning.command_line.library_error import refused_by_lightning
from gls_lightning.command_line.model_parser import ModelParser
from gls_lightning.command_line.trainer_options import check_trainer_options
from gls_lightning.config_composition import compose
from gls_lightning.config_files import prepare
from gls_lightning.config_trust import TRUST_RUN, Trust
from gls_lightning.diagnostics import LossLandscape, TightnessMeter, radius_grid
from gls_lightning.errors import ConfigurationError
from gls_lightning.evaluation import (
    CertificationEvaluation,
    CertificationOptions,
    CertificationReport,
    ChosenTestImages,
    LandscapeEvaluation,
    TightnessEvaluation,
    TightnessReport,
    report_metrics,
)
from gls_lightning.found_values import restrict_parsers
from gls_lightning.module import CertifiedTrainingModule
from gls_lightning.objectives import Objective
from gls_lightning.placement import log_into_run, loggers_of_evaluation, run_of_resumed
from gls_lightning.radius import Radius, read_radius, warn_of_large_radius
from gls_lightning.relaxations import Relaxation
from gls_lightning.run_files import CONFIG, evaluation_directory
from gls_lightning.version import __version__
from gls_lightning.weights import read_checkpoint, read_weights, require_of_run
from gls_lightning.writable_directory import require_writable_directory

CHECKPOINTS = ("checkpoint", "latest", "recovery")
OWN_COMMANDS = ("tightness", "landscape", "certify", "export")


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


def _require_optimizer(path: str, checkpoint: dict[str, Any], given: str | None) -> None:
    """Refuses to go on with an optimizer that cannot have the state of the checkpoint's."""
    arguments = checkpoint.get("hyper_parameters")
    saved = arguments.get("optimizer") if isinstance(arguments, dict) else None
    name = saved.get("class_path") if isinstance(saved, dict) else None
    if None not in (name, given) and name != given:
        raise ConfigurationError(
            f"model.optimizer is {given}, but {path} holds the state of {name}; model.init_from takes its weights alone"
        )


class _Noted(Action):
    """A flag that has been read before parsing: an option of the command line alone, that no configuration has."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, SUPPRESS, nargs=0, default=SUPPRESS, **options)

    def __call__(self, *args: Any) -> None:
        """Does nothing."""


class GLSCLI(LightningCLI):
    """``gls fit``, ``validate``, ``test``, ``tightness``, ``landscape``, ``certify`` and ``export``.

    A network may be any class, so its section states the shape of the images, the number of classes and the
    normalisation itself; nothing is linked from the data. The module checks that they fit before training starts.

    Args:
        words: The words after ``gls``.
        run_name: Names the directory of the run below ``runs``.
        trust: What the words trust.
    """

    def __init__(self, words: list[str], run_name: str, trust: Trust) -> None:
        self.run_name = run_name
        self.trust = trust
        self._command = words[0] if words and words[0] in self.subcommands() else None
        super().__init__(
            CertifiedTrainingModule,
            LightningDataModule,
            save_config_callback=SaveRunConfig,
            trainer_class=GLSTrainer,
            trainer_defaults={"callbacks": [MetricsFile(), RunReport(), RefusedRun()]},
            parser_kwargs={"prog": "gls", "version": f"gls {__version__}"},
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            parser_class=ModelParser,
            args=words,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The methods of the trainer that are commands, and which of their arguments are not options."""
        commands = LightningCLI.subcommands()
        own = {name: {"model", "datamodule"} for name in OWN_COMMANDS}
        return {name: commands[name] for name in ("fit", "validate", "test")} | own

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser that knows what the command line trusts."""
        parser = super().init_parser(**kwargs)
        assert isinstance(parser, ModelParser)
        parser.trust = self.trust
        return parser

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Of the commands that do not run only the names are needed; the options of each take a tenth of a second."""
        if self._command not in (None, subcommand):
            return self.init_parser(**kwargs)
        return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses the command line, and refuses a seed that generators do not take."""
        super().parse_arguments(parser, args)
        seed = self.config[self.config.subcommand].seed_everything
        if not 0 <= seed < 2**32:
            raise ConfigurationError(f"seed_everything is {seed}; it must lie between 0 and {2**32 - 1}")

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """One seed for everything."""
        parser.add_argument(
            "--seed_everything", type=int, default=0, help="Seed of initialisation, data order, noise and attacks."
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Schedules and checkpoints have keys of their own, which configurations, flags and sweeps can set singly."""
        parser.add_argument(
            TRUST_RUN,
            action=_Noted,
            help="Trust a run's directory, or a configuration beside a checkpoint, as if you had written it: it may "
            "import modules of its own folder and choose any class.",
        )
        parser.add_argument("--imports", type=list[str], default=[], help="Modules to import before parsing.")
        parser.add_argument("--import_paths", type=list[str], default=[], help="Further folders where these may be.")
        parser.add_argument(
            "--paper",
            type=dict[str, Any] | None,
            default=None,
            help="Published accuracies, for reports; changes nothing.",
        )
        parser.add_lightning_class_args(EpsilonAnnealing, "epsilon_annealing")
        parser.add_lightning_class_args(SigmaDecay, "sigma_decay")
        for key in CHECKPOINTS:
            parser.add_lightning_class_args(RunCheckpoint, key)
        best = {"monitor": "val/certified_accuracy", "mode": "max", "filename": "best-{epoch}"}
        # A callback's save_last follows its other checkpoints only: the best one's would miss the epochs after it.
        latest = {"filename": "last"}
        recovery = {"every_n_train_steps": 200, "save_top_k": 0, "save_last": True}
        parser.set_defaults(
            {
                **{f"checkpoint.{name}": value for name, value in best.items()},
                **{f"latest.{name}": value for name, value in latest.items()},
                **{f"recovery.{name}": value for name, value in recovery.items()},
                # The latter two keep one and the same last.ckpt up to date.
                **{f"{key}.enable_version_counter": False for key in CHECKPOINTS},
                "trainer.logger": {
                    "class_path": "gls_lightning.csv_logger.RunCSVLogger",
                    "init_args": {"save_dir": "runs", "name": self.run_name},
                },
            }
        )
        parser.link_arguments("seed_everything", "model.init_args.seed")
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def _parse_ckpt_path(self) -> None:
        """Lets the configuration rule: Lightning would let a checkpoint's hyperparameters override the command line."""
        config = self.config[self.config.subcommand]
        path = config.get("ckpt_path")
        if config.get("weights_only") is False and not self.trust.pickles:
            files = ", ".join(map(str, config.get("config") or self.config.get("config") or ()))
            raise ConfigurationError(
                f"weights_only of {files} is false, which lets a checkpoint execute code; only the flag "
                "--weights_only=false does that"
            )
        # Not None, for which Lightning unpickles checkpoints that it fetches by HTTP.
        config.weights_only = not self.trust.pickles
        if path is None and self.config.subcommand != "fit":
            rank_zero_warn(
                f"gls {self.config.subcommand} without ckpt_path evaluates the network as it is initialised."
            )
        of_network = self.config.subcommand in OWN_COMMANDS and Path(path or "").suffix == ".safetensors"
        if path not in (None, "last", "best", "hpc") and not of_network:
            checkpoint = read_checkpoint(path, weights_only=config.weights_only)
            if self.config.subcommand not in OWN_COMMANDS:
                require_of_run(path, checkpoint, resumable=self.config.subcommand == "fit")
            if self.config.subcommand == "fit":
                _require_optimizer(path, checkpoint, config.get("model.init_args.optimizer.class_path"))

    def before_fit(self) -> None:
        """Leaves out of the run's record that objects may be unpickled: that holds for this command line."""
        self.config.fit.weights_only = None

    def before_instantiate_classes(self) -> None:
        """Decides where loggers write, and leaves out the checkpoint callbacks where checkpoints are switched off."""
        trainer = self._get(self.config, "trainer")
        if self.subcommand == "fit":
            self._go_on(trainer)
        else:
            trainer.logger = loggers_of_evaluation(trainer.logger, self._results)
        if trainer.enable_checkpointing is False:
            keys = self._parser(self.subcommand).callback_keys
            keys[:] = [key for key in keys if key not in CHECKPOINTS]

    def _go_on(self, trainer: Namespace) -> None:
        """Lets a fit that is resumed go on in the directory of its run, which its configuration does not name."""
        path, given = self._get(self.config, "ckpt_path"), self.config[self.subcommand].clone()
        if path is None or not Path(path).is_file() or trainer.enable_checkpointing is False:
            return
        config = self._parser(self.subcommand).dump(given, skip_unset=False, skip_link_targets=False)
        if run := run_of_resumed(Path(path), trainer.logger, config):
            log_into_run(trainer.logger, run)
            given["ckpt_path"] = compose(run / CONFIG).content.get("ckpt_path")  # where the whole run began
            given["weights_only"] = None  # see before_fit
            self.save_config_kwargs["given"] = given

    @property
    def _results(self) -> Path:
        """Default place of an evaluation's results."""
        name = "certification" if self.subcommand == "certify" else str(self.subcommand)
        return evaluation_directory(name, self._get(self.config, "ckpt_path"))

    def after_test(self) -> None:
        """Keeps the metrics."""
        report_metrics(self.trainer, self.model, self._results, self._get(self.config, "ckpt_path"))

    after_validate = after_test


def run(words: list[str]) -> None:
    """Runs a command line.

    Raises:
        ConfigurationError: Bad input.
        SystemExit: With code 143, as the shell's convention is, after SIGTERM.
    """
    _silence()
    restrict_parsers()
    words, configs, trust = prepare(words)
    try:
        GLSCLI(words, configs[0].stem if configs else "run", trust)
    except SIGTERMException:
        sys.exit(128 + signal.SIGTERM)
    except (MisconfigurationException, ValueError, ModuleNotFoundError) as error:
        if (refused := refused_by_lightning(error)) is None:
            raise
        raise refused from error


def _silence() -> None:
    """Silences what users of ``gls`` can do nothing about."""
    for message in (
        "LightningCLI's args parameter is intended to run from within Python",  # the words were changed on purpose
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own code on new releases of PyTorch
        "The dirpath has changed from",  # every run has a directory of its own
        "The '.*_dataloader' does not have many workers",  # images in memory need none
    ):
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
