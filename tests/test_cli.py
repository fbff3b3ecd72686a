"""The command line, driven in process."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

import gls_lightning
from gls_lightning import cli
from gls_lightning.callbacks import PeriodicCertification
from gls_lightning.configuration.files import SHIPPED
from gls_lightning.main import main
from gls_lightning.version import __version__

CONFIGS = Path(__file__).parent / "configs"
TINY = str(CONFIGS / "tiny.yaml")
EXPERIMENTS = [path.name for path in SHIPPED.glob("*.yaml")]  # the other folders have tests of their own
EXPERIMENTS += [f"comparison/{path.name}" for path in (SHIPPED / "comparison").glob("*.yaml")]
EXPERIMENTS += [f"smoothing/{path.name}" for path in (SHIPPED / "smoothing").glob("*_crown_ibp_*.yaml")]
EXPERIMENTS += [f"recipes/{path.name}" for path in (SHIPPED / "recipes").glob("*.yaml")]
HELD_OUT = {
    "digits_quickstart.yaml": 200,
    "smoothing/digits": 300,
    "smoothing/mnist": 2000,
    "recipes/digits": 300,
    "recipes/mnist": 2000,
}


pytestmark = pytest.mark.usefixtures("clean_place")


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a command line fails."""
    with pytest.raises(SystemExit) as exit_:
        main(list(words))
    assert exit_.value.code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("gls: "))
    return line


class TestFit:
    def test_trains_and_says_what_came_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["fit", "--config", TINY])
        printed = capsys.readouterr().out
        assert "50 test images of Digits, epsilon 0.05" in printed
        for column in ("natural accuracy", "certified accuracy", "adversarial accuracy"):
            assert column in printed
        run = Path("runs/tiny/version_0")
        for file in (run / "checkpoints/last.ckpt", run / "checkpoints/best-epoch=0.ckpt", run / "config.yaml"):
            assert str(file) in printed
            assert file.is_file()
        assert {"train/loss", "epsilon", "sigma", "learning_rate", "val/certified_accuracy"} <= set(
            (run / "metrics.csv").read_text().splitlines()[0].split(",")
        )

    def test_the_last_checkpoint_is_of_the_last_epoch_also_when_it_is_not_the_best(self) -> None:
        nothing_learnt = ["--model.optimizer=SGD", "--model.optimizer.lr=0"]
        main(["fit", "--config", TINY, "--trainer.max_epochs=2", *nothing_learnt])
        folder = Path("runs/tiny/version_0/checkpoints")
        assert {path.name for path in folder.iterdir()} == {"best-epoch=0.ckpt", "last.ckpt"}
        assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 4

    def test_a_checkpoint_suffices_to_go_on_from(self) -> None:
        main(["fit", "--config", TINY, "--model.epsilon=0.01"])
        config = Path("runs/tiny/version_0/config.yaml")
        saved = config.read_text()

        main(["test", "--ckpt_path", "runs/tiny/version_0/checkpoints/last.ckpt"])
        main(["validate", "--ckpt_path=runs/tiny/version_0/checkpoints/last.ckpt"])

        assert config.read_text() == saved
        assert [path.name for path in Path("runs").rglob("config.yaml")] == ["config.yaml"]
        loaded = gls_lightning.load("runs/tiny/version_0/checkpoints/last.ckpt")
        assert loaded.epsilon == 0.01
        assert type(loaded.relaxation).__name__ == "DeepPoly"

    def test_loss_fusion(self) -> None:
        main(["fit", "--config", TINY, "--model.objective=Certified", "--model.objective.loss_fusion=true"])
        columns = Path("runs/tiny/version_0/metrics.csv").read_text().splitlines()[0].split(",")
        assert {"train/fused_certified_accuracy", "val/certified_accuracy"} <= set(columns)

    def test_without_checkpoints_validation_and_logger(self, capsys: pytest.CaptureFixture[str]) -> None:
        options = ["--trainer.enable_checkpointing=false", "--trainer.limit_val_batches=0", "--trainer.logger=false"]
        main(["fit", "--config", TINY, *options])
        assert "Last validation" not in capsys.readouterr().out
        assert not Path("runs").exists()

    @pytest.mark.parametrize("checkpoints", ["true", "false"])
    def test_two_processes(self, checkpoints: str, capfd: pytest.CaptureFixture[str]) -> None:
        torch.set_num_threads(1)  # forked processes hang in a pool of threads that they do not have
        options = [
            "--trainer.devices=2",
            "--trainer.strategy=ddp_fork",
            f"--trainer.enable_checkpointing={checkpoints}",
        ]
        main(["fit", "--config", TINY, *options])
        printed = capfd.readouterr().out
        assert printed.count("50 test images of Digits, epsilon 0.05") == 1
        for name in ("config.yaml", "metrics.csv"):
            assert f"runs/tiny/version_0/{name}" in printed
            assert Path("runs/tiny/version_0", name).is_file()

    def test_a_second_stage_needs_the_first(self, capsys: pytest.CaptureFixture[str]) -> None:
        second = ["--config", TINY, "--first_stage=first.yaml"]
        assert fails(capsys, "fit", *second) == (
            "gls: first_stage is first.yaml, the network that this one starts from: train it and add "
            "--model.init_from=runs/first/version_0/checkpoints/last.ckpt, let gls table do both, or start from "
            "scratch with --first_stage=null"
        )
        assert not Path("runs").exists()
        main(["fit", *second, "--first_stage=null"])
        last = "runs/tiny/version_0/checkpoints/last.ckpt"
        main(["fit", *second, f"--model.init_from={last}"])
        main(["fit", *second, f"--ckpt_path={last}"])

    def test_fast_dev_run(self) -> None:
        main(["fit", "--config", TINY, "--trainer.fast_dev_run=true"])
        assert not Path("runs").exists()


class TestConfiguration:
    @pytest.mark.parametrize("name", EXPERIMENTS)
    def test_every_shipped_one_is_understood_from_anywhere(self, name: str, parsed: list[cli.GLSCLI]) -> None:
        overlay = name in ("wandb.yaml", "diagnostics.yaml")
        configs = ["--config", "cnn3_ibp.yaml", "--config", name] if overlay else ["--config", name]
        main(["fit", *configs])
        (run,) = parsed
        run.model.trace(run.datamodule.input_shape)
        assert run.model.graph.num_outputs == run.datamodule.num_classes
        held_out = next((size for start, size in HELD_OUT.items() if name.startswith(start)), 5000)
        assert run.datamodule.validation_size == held_out, "the test images would choose"
        # PGPE's estimate has many times the norm of the gradient.
        assert run.trainer.gradient_clip_val == (None if "pgpe" in name else 10)

    def test_the_card(self, parsed: list[cli.GLSCLI]) -> None:
        main(["fit", "--config", "cnn5_dp_rgs.yaml", "--trainer.max_epochs=1", "--data.root=elsewhere"])
        (run,) = parsed
        model = run.model
        assert sum(p.numel() for p in model.network.parameters()) == 165_850
        assert (run.trainer.max_epochs, str(run.datamodule.root), run.datamodule.batch_size) == (1, "elsewhere", 256)
        assert (model.estimator.population_size, model.estimator.schedulable["sigma"], model.epsilon) == (2, 1e-3, 0.1)
        sections = run.config.fit
        assert vars(sections.epsilon_annealing) == {
            **{"start_epoch": 0, "end_epoch": 20},
            **{"shape": "smooth", "milestones": ()},
        }
        assert vars(sections.sigma_decay) == {
            **{"factor": 0.4, "milestones": [50, 60]},
            **{"shape": "step", "start_epoch": 0, "end_epoch": 0, "ramp_factor": 1.0},
        }
        (optimizer,), (scheduler,) = _optimizers(model)
        assert optimizer.param_groups[0]["lr"] == 5e-4
        assert (dict(scheduler.milestones), scheduler.gamma) == ({50: 1, 60: 1}, 0.2)

    def test_the_working_directory_comes_first(self, parsed: list[cli.GLSCLI]) -> None:
        Path("digits_quickstart.yaml").write_text(Path(TINY).read_text())
        main(["fit", "--config=digits_quickstart.yaml"])
        assert parsed[0].model.epsilon == 0.05

    def test_unknown_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert re.search(
            r"no configuration cnn5_dp_rsg\.yaml.* near: cnn5_dp_rgs\.yaml",
            fails(capsys, "fit", "--config", "cnn5_dp_rsg.yaml"),
        )

    @pytest.mark.parametrize(
        "name", ["network=CNN3", "relaxation=IBP", "relaxation=CROWNIBP", "estimator=Backprop", "objective=Standard"]
    )
    def test_components_are_known_by_their_class_names(self, name: str, parsed: list[cli.GLSCLI]) -> None:
        main(["fit", "--config", TINY, f"--model.{name}"])
        key, value = name.split("=")
        assert type(getattr(parsed[0].model, key)).__name__ == value

    def test_one_seed_for_everything(self, parsed: list[cli.GLSCLI]) -> None:
        main(["fit", "--config", TINY, "--seed_everything=3"])
        assert (parsed[0].model.seed, parsed[0].datamodule.seed) == (3, 3)

    def test_a_data_module_without_seed(self, parsed: list[cli.GLSCLI]) -> None:
        Path("mine.py").write_text(
            "from lightning.pytorch import LightningDataModule\nclass Seedless(LightningDataModule):\n    pass\n"
        )
        main(["fit", "--config", TINY, "--imports=[mine]", "--data=Seedless"])
        assert type(parsed[0].datamodule).__name__ == "Seedless"

    def test_inference_mode_is_off(self, parsed: list[cli.GLSCLI]) -> None:
        with pytest.warns(UserWarning, match="gls test without ckpt_path evaluates the network as it is initialised"):
            main(["test", "--config", TINY])
        assert parsed[0].trainer.test_loop.inference_mode is False

    def test_callbacks_are_appended(self, parsed: list[cli.GLSCLI]) -> None:
        words = ["--trainer.callbacks+=PeriodicCertification", "--trainer.callbacks.certifier.batch_size=5"]
        main(["fit", "--config", TINY, *words])
        (added,) = (c for c in parsed[0].trainer.callbacks if isinstance(c, PeriodicCertification))
        assert added.certifier.batch_size == 5

    def test_a_certifier_with_alpha_crown(self) -> None:
        relaxations = "[IBP, {class_path: AlphaCROWN, init_args: {step_rule: sign}}]"
        words = ["--model.certifier=Certifier", f"--model.certifier.relaxations={relaxations}"]
        with pytest.warns(UserWarning, match="without ckpt_path"):
            main(["test", "--config", TINY, *words, "--trainer.limit_test_batches=1"])

    def test_a_tiny_override_of_every_kind(self, parsed: list[cli.GLSCLI]) -> None:
        words = ["--model.estimator.sigma=0.5", "--model.init_args.estimator.init_args.population_size=4"]
        main(["fit", "--config", TINY, *words, "--model.optimizer=SGD", "--model.optimizer.lr=0.3"])
        model = parsed[0].model
        assert (model.estimator.schedulable["sigma"], model.estimator.population_size) == (0.5, 4)
        assert _optimizers(model)[0][0].param_groups[0]["lr"] == 0.3


def _optimizers(model: Any) -> tuple[list[Any], list[Any]]:
    made = model.configure_optimizers()
    if isinstance(made, torch.optim.Optimizer):
        return [made], []
    return [made["optimizer"]], [made["lr_scheduler"]]


RELAXATION = """
from gls_lightning.relaxations import IBP


class Halved(IBP):
    '''A relaxation of one's own.'''

    def __call__(self, graph, tensors, box, specification):
        return super().__call__(graph, tensors, box, specification) / 2
"""


class TestOwnComponents:
    def test_beside_the_configuration(self, parsed: list[cli.GLSCLI], tmp_path: Path) -> None:
        folder = tmp_path / "experiments"
        folder.mkdir()
        (folder / "halved_relaxation.py").write_text(RELAXATION)
        config = yaml.safe_load(Path(TINY).read_text())
        config["imports"] = ["halved_relaxation"]
        config["model"]["init_args"]["relaxation"] = "Halved"
        (folder / "mine.yaml").write_text(yaml.safe_dump(config))
        main(["fit", "--config", "experiments/mine.yaml"])
        assert type(parsed[0].model.relaxation).__name__ == "Halved"

    def test_the_record_of_a_run_says_where_they_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "experiments").mkdir()
        (tmp_path / "experiments/recorded.py").write_text(RELAXATION.replace("Halved", "Recorded"))
        config = yaml.safe_load(Path(TINY).read_text()) | {"imports": ["recorded"]}
        Path("experiments/mine.yaml").write_text(yaml.safe_dump(config))
        options = ["--model.relaxation=Recorded", "--trainer.max_steps=1", "--trainer.limit_val_batches=0"]
        main(["fit", "--config", "experiments/mine.yaml", *options])
        (checkpoint,) = tmp_path.rglob("last.ckpt")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        sys.path[:] = [path for path in sys.path if not path.startswith(str(tmp_path))]
        del sys.modules["recorded"]
        message = fails(capsys, "test", "--ckpt_path", str(checkpoint))
        assert "names recorded, which is neither installed nor in the working directory" in message
        assert "only with --trust_run" in message
        main(["test", "--ckpt_path", str(checkpoint), "--trust_run"])
        assert "recorded" in sys.modules

    def test_missing(self, capsys: pytest.CaptureFixture[str]) -> None:
        message = fails(capsys, "fit", "--config", TINY, "--imports", "not_there")
        assert "imports of --imports names not_there, which is neither" in message

    def test_an_import_that_fails_inside_keeps_its_traceback(self) -> None:
        Path("broken.py").write_text("import surely_not_installed")
        with pytest.raises(ModuleNotFoundError, match="surely_not_installed"):
            main(["fit", "--config", TINY, "--imports=[broken]"])

    def test_installed_components(self, parsed: list[cli.GLSCLI], tmp_path: Path) -> None:
        """A distribution announces its module as an entry point."""
        info = tmp_path / "site" / "announced-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: announced\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[gls_lightning.components]\nannounced = announced\n")
        (info.parent / "announced.py").write_text(RELAXATION.replace("Halved", "Announced"))
        sys.path.append(str(info.parent))
        main(["fit", "--config", TINY, "--model.relaxation=Announced"])
        assert type(parsed[0].model.relaxation).__name__ == "Announced"

    def test_a_module_of_ones_own_is_loaded_as_what_it_is(self) -> None:
        Path("own_module.py").write_text(
            "from gls_lightning import CertifiedTrainingModule\n"
            "class Tempered(CertifiedTrainingModule):\n"
            "    def __init__(self, *, temperature: float = 1.0, **kwargs):\n"
            "        super().__init__(**kwargs)\n"
            "        self.temperature = temperature\n"
        )
        words = ["--imports=[own_module]", "--model=Tempered", "--model.temperature=2"]
        main(["fit", "--config", TINY, *words, "--trainer.max_steps=1", "--trainer.limit_val_batches=0"])
        (checkpoint,) = Path("runs").rglob("last.ckpt")
        loaded: Any = gls_lightning.load(checkpoint)
        assert (type(loaded).__name__, loaded.temperature, loaded.epsilon) == ("Tempered", 2.0, 0.05)


class TestBadInput:
    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("--model.epsilon=-0.1", "epsilon is -0.1"),
            ("--model.epsilon=1.5", "epsilon is 1.5"),
            ("--model.estimator.population_size=0", "population_size is 0"),
            ("--data.batch_size=0", "batch_size"),
            ("--epsilon_annealing.start_epoch=3", "start_epoch 3 and end_epoch 0"),
            ("--ckpt_path=nowhere.ckpt", "there is no checkpoint nowhere.ckpt"),
            ("--model.network=torch.nn.GELU", "gelu"),
            ("--model.relaxation=AlphaCROWN", "AlphaCROWN has no useful gradients, which estimator RGS needs"),
        ],
    )
    def test_one_line(self, option: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert message in fails(capsys, "fit", "--config", TINY, option)

    def test_invalid_yaml(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("bad.yaml").write_text("model: [\nb")
        assert re.search(r"bad\.yaml is no valid YAML: .*line 2", fails(capsys, "fit", "--config", "bad.yaml"))

    def test_help_explains_the_arguments(self, capsys: pytest.CaptureFixture[str]) -> None:
        for option, text in (
            ("--model.estimator.help=RGS", "perturbation of every"),
            ("--model.help", "between 0 and 1"),
        ):
            with pytest.raises(SystemExit):
                main(["fit", option])
            assert text in capsys.readouterr().out

    def test_sigma_decay_of_an_estimator_without_sigma(self, capsys: pytest.CaptureFixture[str]) -> None:
        options = ["--model.estimator=Backprop", "--sigma_decay.milestones=[1]"]
        assert "Backprop has no sigma" in fails(capsys, "fit", "--config", TINY, *options)

    def test_data_that_are_not_there(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        def offline(*args: Any, **kwargs: Any) -> None:
            raise OSError("no network")

        monkeypatch.setattr("urllib.request.urlopen", offline)
        message = fails(capsys, "fit", "--config", "cnn3_ibp.yaml", "--data.root=nowhere")
        assert "data.root: 'nowhere' does not hold MNIST" in message

    def test_checkpoint_of_another_architecture(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["fit", "--config", TINY, "--trainer.max_steps=1", "--trainer.limit_val_batches=0"])
        (checkpoint,) = Path("runs").rglob("last.ckpt")
        message = fails(capsys, "test", "--config", TINY, "--model.network=CNN3", f"--ckpt_path={checkpoint}")
        assert "another architecture" in message
        assert "network.conv1.weight is (2, 1, 5, 5) in the checkpoint and (8, 1, 5, 5) in the model" in message

    def test_files_that_are_no_checkpoints(self, capsys: pytest.CaptureFixture[str]) -> None:
        torch.save({"weight": torch.zeros(3)}, "weights.ckpt")
        Path("truncated.ckpt").write_bytes(Path("weights.ckpt").read_bytes()[:-100])
        Path("text.ckpt").write_text("hello")
        Path("empty.ckpt").touch()
        for name in ("truncated.ckpt", "text.ckpt", "empty.ckpt"):
            assert f"{name} is damaged" in fails(capsys, "test", "--config", TINY, "--ckpt_path", name)
        assert "weights.ckpt is no checkpoint of" in fails(capsys, "fit", "--config", TINY, "--ckpt_path=weights.ckpt")

    def test_options_beat_the_checkpoint(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["fit", "--config", TINY, "--trainer.max_steps=1", "--trainer.limit_val_batches=0"])
        (checkpoint,) = Path("runs").rglob("last.ckpt")
        seen: list[float] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cli.GLSCLI, "_run_subcommand", lambda self, _: seen.append(self.model.epsilon))
            main(["test", f"--ckpt_path={checkpoint}", "--model.epsilon=0.77"])
        assert seen == [0.77]


SIGNALLED = """
import signal
from lightning.pytorch import Callback


class Signalled(Callback):
    def __init__(self, name: str) -> None:
        self.name = name

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == 1:
            signal.raise_signal(getattr(signal, self.name))
"""


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 1)])
def test_an_interrupted_run_names_the_checkpoint_to_resume_from(
    name: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("signalled.py").write_text(SIGNALLED)
    words = ["--imports=[signalled]", "--trainer.callbacks+=Signalled", f"--trainer.callbacks.name={name}"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background would ignore it
    try:
        with pytest.raises(SystemExit) as exit_:
            main(["fit", "--config", TINY, "--recovery.every_n_train_steps=1", *words])
    finally:
        signal.signal(signal.SIGINT, before)  # which Lightning ignores from the first one on
    assert exit_.value.code == code
    checkpoint = Path("runs/tiny/version_0/checkpoints/last.ckpt")
    line = rf"^gls: interrupted; resume with gls fit --ckpt_path \S*{checkpoint}$"
    assert re.search(line, capsys.readouterr().err, re.MULTILINE)
    assert checkpoint.is_file()


class TestVersion:
    def test_needs_neither_torch_nor_lightning(self) -> None:
        code = "import sys, gls_lightning.main as m; m.main(['--version']); assert 'torch' not in sys.modules"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == f"gls {__version__}\n"

    def test_of_a_command_line_with_more(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as exit_:
            main(["fit", "--help"])
        assert exit_.value.code == 0
        assert "--epsilon_annealing.end_epoch" in capsys.readouterr().out


def test_weights_and_biases_offline(wandb: ModuleType) -> None:
    main(["fit", "--config", TINY, "--config", "wandb.yaml"])
    run = wandb.run
    assert "offline-run" in run.dir
    assert run.settings.resume == "allow"
    assert run.config["model"]["init_args"]["estimator"]["init_args"]["sigma"] == 1e-3
    assert run.summary["val/certified_accuracy"]["max"] >= 0
    config = next(Path("runs").rglob("config.yaml"))
    assert config.parent == next(Path("runs").rglob("last.ckpt")).parents[1]
    assert json.loads(json.dumps(yaml.safe_load(config.read_text())))["model"]["init_args"]["epsilon"] == 0.05
