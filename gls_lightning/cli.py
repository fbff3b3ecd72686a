"""The command line: Lightning's, with this package's components and defaults."""

import logging
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException

# Components are found by their class names alone once they are imported.
import gls_lightning.certification
import gls_lightning.data
import gls_lightning.networks
import gls_lightning.optimizers  # noqa: F401
from gls_lightning.arguments import require
from gls_lightning.callbacks import (
    EpsilonAnnealing,
    MetricsFile,
    RefusedRun,
    RunCheckpoint,
    RunReport,
    SaveRunConfig,
    SigmaDecay,
)
from gls_lightning.command_line.first_stage import check_first_stage
from gls_lightning.command_line.model_commands.checkpoints import check_checkpoint
from gls_lightning.command_line.model_commands.library_error import refused_by_lightning
from gls_lightning.command_line.model_commands.model_parser import EarlyFlag, ModelParser
from gls_lightning.command_line.model_commands.placement import log_into_run, loggers_of_evaluation, run_of_resumed
from gls_lightning.command_line.preparation import prepare
from gls_lightning.commands import LIGHTNING_COMMANDS, MODEL_COMMANDS
from gls_lightning.commands.certify import Workers, take_workers
from gls_lightning.commands.shared import EvaluatedModel
from gls_lightning.commands.shared.metrics_report import report_metrics
from gls_lightning.configuration import TRUST_RUN, Trust, compose, restrict_parsers
from gls_lightning.errors import ConfigurationError
from gls_lightning.executors import Execution
from gls_lightning.module import CertifiedTrainingModule
from gls_lightning.run_files import CONFIG, RUNS, CertificationSummary, evaluation_directory
from gls_lightning.trainer import GLSTrainer
from gls_lightning.version import __version__

CHECKPOINTS = ("checkpoint", "latest", "recovery")


class GLSCLI(LightningCLI):
    """``gls fit``, ``validate``, ``test``, ``tightness``, ``landscape``, ``certify`` and ``export``.

    A network may be any class, so its section states the shape of the images, the number of classes and the
    normalisation itself; nothing is linked from the data. The module checks that they fit before training starts.

    Args:
        words: The words after ``gls``.
        run_name: Names the directory of the run below ``runs``.
        trust: What the words trust.
        workers: Processes that certify in place of this one; None if there are none.
    """

    def __init__(self, words: list[str], run_name: str, trust: Trust, workers: Workers | None = None) -> None:
        self.run_name = run_name
        self.trust = trust
        self.workers = workers
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
        """Lists the methods of the trainer that are commands, and which of their arguments are not options."""
        commands = LightningCLI.subcommands()
        own = {name: {"model", "datamodule", "workers"} for name in MODEL_COMMANDS}
        return {name: commands[name] for name in LIGHTNING_COMMANDS} | own

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Makes a parser that knows what the command line trusts."""
        parser = super().init_parser(**kwargs)
        assert isinstance(parser, ModelParser)
        parser.trust = self.trust
        return parser

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Leaves the commands that do not run without options, which take a tenth of a second for each."""
        if self._command not in (None, subcommand):
            return self.init_parser(**kwargs)
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand in MODEL_COMMANDS:
            added = parser.add_class_arguments(EvaluatedModel, skip={"trainer", "model", "datamodule"})
            self._subcommand_method_arguments[subcommand] += added
        if subcommand == "certify":
            parser.add_class_arguments(Execution)
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses the command line, and refuses numbers with which generators and schedules fail later."""
        super().parse_arguments(parser, args)
        config = self.config[self.config.subcommand]
        seed = config.seed_everything
        require(0 <= seed < 2**32, "seed_everything", seed, f"between 0 and {2**32 - 1}")
        for name in ("step_size", "T_max"):  # by which schedules of PyTorch divide after the first epoch
            value = config.get(f"model.init_args.scheduler.init_args.{name}")
            require(not isinstance(value, int | float) or value > 0, f"model.scheduler.{name}", value, "above 0")
        for name, default in vars(Execution()).items():  # what the command line says of these was taken out before
            if (value := config.get(name, default)) != default:
                raise ConfigurationError(f"{name} is {value} in a configuration; only the option --{name} says it")

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds one seed for everything."""
        parser.add_argument(
            "--seed_everything", type=int, default=0, help="Seed of initialisation, data order, noise and attacks."
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Gives schedules and checkpoints keys of their own, which configurations, flags and sweeps can set singly."""
        parser.add_argument(
            TRUST_RUN,
            action=EarlyFlag,
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
        parser.add_argument(
            "--first_stage",
            type=str | None,
            default=None,
            help="The configuration of the network that this one starts from, which gls table trains first; every "
            "other command needs model.init_from.",
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
                    "init_args": {"save_dir": str(RUNS), "name": self.run_name},
                },
            }
        )
        parser.link_arguments("seed_everything", "model.init_args.seed")
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def _parse_ckpt_path(self) -> None:
        """Lets the configuration rule: Lightning would let a checkpoint's hyperparameters override the command line."""
        command = self.config.subcommand
        config = self.config[command]
        if config.get("weights_only") is False and not self.trust.pickles:
            files = ", ".join(map(str, config.get("config") or self.config.get("config") or ()))
            raise ConfigurationError(
                f"weights_only of {files} is false, which lets a checkpoint execute code; only the flag "
                "--weights_only=false does that"
            )
        # Not None, for which Lightning unpickles checkpoints that it fetches by HTTP.
        config.weights_only = not self.trust.pickles
        check_checkpoint(command, config, own=command in MODEL_COMMANDS)

    def before_fit(self) -> None:
        """Checks the start; leaves out of the run's record that this command line lets objects be unpickled."""
        fit = self.config.fit
        check_first_stage(fit.first_stage, fit.ckpt_path or fit.get("model.init_args.init_from"))
        fit.weights_only = None

    def before_instantiate_classes(self) -> None:
        """Decides where loggers write, and leaves out the checkpoint callbacks where checkpoints are switched off."""
        trainer = self._get(self.config, "trainer")
        if self.subcommand == "fit":
            self._go_on(trainer)
        else:
            trainer.logger = loggers_of_evaluation(trainer.logger, self._results)
        if self.workers is not None:  # this process computes nothing
            trainer.accelerator, trainer.devices, trainer.num_nodes, trainer.strategy = "cpu", 1, 1, "auto"
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
        name = CertificationSummary.DIRECTORY if self.subcommand == "certify" else str(self.subcommand)
        return evaluation_directory(name, self._get(self.config, "ckpt_path"))

    def certify(self, **options: Any) -> None:
        """Certifies, by workers where the command line asks for them."""
        GLSTrainer.certify(self.trainer, workers=self.workers, **options)  # type: ignore[attr-defined]

    def after_test(self) -> None:
        """Keeps the metrics."""
        ckpt_path = self._get(self.config, "ckpt_path")
        report_metrics(EvaluatedModel(self.trainer, self.model, self.datamodule, ckpt_path), self._results)

    after_validate = after_test


def run(words: list[str]) -> None:
    """Runs a command line.

    Raises:
        ConfigurationError: Bad input.
        SystemExit: With code 143, as the shell's convention is, after SIGTERM.
    """
    _silence()
    restrict_parsers()
    words, workers = take_workers(words)
    words, configs, trust = prepare(words)
    try:
        GLSCLI(words, configs[0].stem if configs else "run", trust, workers)
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
