"""What users mistype, and the line that each of them reads."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gls_lightning import cli
from gls_lightning.main import main
from gls_lightning.version import __version__

TINY = Path(__file__).parents[1] / "configs/tiny.yaml"
BASES = f"bases: [{TINY}]\n"

pytestmark = pytest.mark.usefixtures("clean_place")


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a command line is refused, which leaves no file behind."""
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as exit_:
        main(list(words))
    printed = capsys.readouterr()
    assert exit_.value.code == 2
    *others, line = printed.err.splitlines()
    assert not any(other for other in others if not other.startswith("Seed set to"))
    assert sorted(Path().rglob("*")) == before
    assert line.startswith("gls: ")
    return line.removeprefix("gls: ")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("fti", "there is no command fti; near: fit; the commands are fit, .*configs, front, report, table, verify$"),
        ("", "a command is missing; the commands are fit, "),
        ("fit", r"gls fit needs data and model, which a configuration gives: --config .*; gls configs lists"),
        ("certify", "gls certify needs data and model"),
        (
            f"--config {TINY} fit",
            "model is an option of fit; give its configuration behind the command",
        ),
        ("configs --shw=x", "there is no option --shw; near: --show$"),
        ("configs --sho=tiny", "there is no option --sho; near: --show$"),
        ("verify --time=3 a b", "there is no option --time; near: --time_limit$"),
        ("verify a b --time_limit=soon", "time_limit is soon; it must be a number$"),
        ("verify a", "gls verify needs property$"),
        ("report", "gls report needs runs$"),
        ("report --titl=x runs", "there is no option --titl; near: --title$"),
    ],
)
def test_commands(words: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.match(line, refusal(capsys, *words.split()))


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("model.epsilonn=1", "model.epsilonn: CertifiedTrainingModule has no option epsilonn; near: epsilon$"),
        ("modle.epsilon=1", "there is no option --modle.epsilon; near: --model.epsilon$"),
        ("epsilon=1", "there is no option --epsilon; near: --model.epsilon$"),
        ("batch_size=1", "there is no option --batch_size; near: --data.batch_size$"),
        ("trainer.max_epoch=3", "there is no option --trainer.max_epoch; near: --trainer.max_epochs, "),
        (
            "epsilon_annealing.end=3",
            "there is no option --epsilon_annealing.end; near: .*annealing.end_epoch",
        ),
        ("data.on_device=cuda", "data.on_device is cuda; it must be auto or true or false$"),
        ("model.relaxation.memory_budget=big", "model.relaxation.memory_budget is big; it must be auto or a number$"),
        ("data.batch_sizee=3", "data.batch_sizee: Digits has no option batch_sizee; near: batch_size"),
        ("model.optimizer.lrr=3", "model.optimizer.lrr: Adam has no option lrr; near: lr$"),
        ("model.estimator.rho=3", r"model.estimator.rho: RGS has no option rho, which SAM.* ha\w+; it has .*sigma"),
        (
            "trainer.callbacks.foo=3",
            "trainer.callbacks.foo: Callback has no option foo; give the class of",
        ),
        ("model.relaxation=DeepPoli", "model.relaxation is DeepPoli, but there is no such relaxation; near: DeepPoly$"),
        (
            "model.relaxation=RGS",
            "model.relaxation is RGS, an estimator; a relaxation is one of AlphaCROWN, AutoLiRPA, CROWNIBP, ",
        ),
        (
            "model.relaxation=torch.nn.ReLU",
            "model.relaxation is torch.nn.ReLU, a network; a relaxation is one of",
        ),
        ("model.relaxation=nope.Foo", "model.relaxation is nope.Foo, which cannot be imported: No module named 'nope'"),
        ("model.objective=Certfied", "model.objective is Certfied, but there is no such objective; near: Certified$"),
        ("model.network=CNN33", "model.network is CNN33, but there is no such network; near: CNN3, "),
        ("model.optimizer=Adamm", "model.optimizer is Adamm, but there is no such optimizer; near: Adam, "),
        ("model.scheduler=StepLRR", "model.scheduler is StepLRR, but there is no such .*schedule; near: StepLR, Multi"),
        ("model=CertfiedTrainingModule", "model is Certfied.* no such training module; near: CertifiedTrainingModule$"),
        ("data=Digit", "data is Digit, but there is no such data module; near: Digits(, |$)"),
        (
            "trainer.callbacks+=FancyLogger",
            "trainer.callbacks is FancyLogger, .* no such callback; near: LossLand",
        ),
        (
            "trainer.callbacks+=EarlyStoping",
            "trainer.callbacks is EarlyStoping, .*; near: EarlyStopping, ",
        ),
        (
            "trainer.callbacks+=pytorch_lightning.callbacks.Timer",
            "trainer.callbacks is pytorch_lightning.*another package; give lightning.pytorch.callbacks.Timer$",
        ),
        ("trainer.callbacks+=EarlyStopping", "trainer.callbacks: EarlyStopping needs monitor$"),
        ("trainer.logger=Foo", "trainer.logger is Foo, but there is no such logger; there are CSVLogger, "),
        ("model.estimator.help=RGSS", "model.estimator is RGSS, but there is no such estimator; near: RGS$"),
        ("model.estimator.population_size=two", "model.estimator.population_size is two; it must be an integer$"),
        ("model.relaxation.lower_slope=3", "model.relaxation.lower_slope is 3; it must be one of adaptive, zero, one"),
        ("model.network.input_shape=[1,8,x]", "model.network.input_shape is x; it must be an integer$"),
        ("trainer.max_epochs=abc", "trainer.max_epochs is abc; it must be an integer or null$"),
        ("trainer.precision=17", "trainer.precision is 17; it must be one of 64, 32, 16, .*bf16 or null$"),
        ("seed_everything=abc", "seed_everything is abc; it must be an integer$"),
        ("seed_everything=-1", "seed_everything is -1; it must be between 0 and 4294967295$"),
        ("config", "-c/--config: expected one argument$"),
        ("imports=3", "--imports is '3'; it must be a list of names$"),
        ("imports=[mine", "--imports is '.mine'; it must be a list of names$"),
        ("model.scheduler={class_path: StepLR, init_args: {step_size: 0}}", "model.scheduler.step_size is 0; it must"),
        ("trainer.max_epochs", "--trainer.max_epochs: expected one argument$"),
        ("model.epsilon=abc", "model.epsilon is abc; it must be a number such as 0.1 or a fraction such as 8/255$"),
        ("model.epsilon=1/0", "model.epsilon is 1/0; it must be a number such as 0.1 or a fraction"),
        ("model.epsilon=8", "epsilon is 8.0; a radius for images in .0, 1. lies between 0 and 1; 8/255 = 0.0314$"),
        ("trainer.accelerator=gppu", "trainer.accelerator is gppu, which there is not; near: gpu$"),
        ("trainer.strategy=ddpp", "trainer.strategy is ddpp, which there is not; near: ddp, "),
        (
            "trainer.logger.save_dir=/proc/nope",
            "trainer.logger.save_dir is /proc/nope, where nothing can be written",
        ),
        ("checkpoint.dirpath=/proc/nope", "checkpoint.dirpath is /proc/nope, where nothing can be written"),
        ("trainer=3", "trainer is 3; it must be a section of options, or a file that holds one$"),
        ("model.estimator.sigma=", "model.estimator.sigma is empty; it must be a number$"),
        ("model.estimator=", "model.estimator is empty; it must be an estimator, such as Backprop$"),
        ("trainer.max_epochs=-3", "trainer.max_epochs is -3; it must be at least 0, or -1 for no limit$"),
        ("checkpoint.save_top_k=-5", "RunCheckpoint: Invalid value for save_top_k=-5. Must be >= -1$"),
        (
            "trainer.callbacks+={class_path: EarlyStopping, init_args: {monitor: val/loss, mode: foo}}",
            "EarlyStopping: `mode` can be min, max, got foo$",
        ),
    ],
)
def test_options(option: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.match(line, refusal(capsys, "fit", f"--config={TINY}", f"--{option}"))


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (
            "checkpoint.monitor=val/acc",
            "RunCheckpoint.monitor is val/acc, which is not logged; there are .*val/",
        ),
        ("checkpoint.monitor=train/los", "RunCheckpoint.monitor is train/los, which is not logged; near: train/loss"),
        (
            "trainer.callbacks+={class_path: EarlyStopping, init_args: {monitor: val/certified_acc}}",
            "EarlyStopping.monitor is val/certified_acc, which is not logged; near: val/certified_accuracy",
        ),
        (
            "trainer.val_check_interval=100",
            r".*`val_check_interval` \(100\) must be less than or equal to",
        ),
        ("trainer.limit_train_batches=0.0001", ".*You requested to check 0.0001 of the `train_dataloader`"),
        ("trainer.precision=16-true", "trainer.precision is 16-true, which rounds"),
        ("model.optimizer.lr=-1", "model.optimizer: Invalid learning rate: -1.0$"),
    ],
)
def test_runs_that_do_not_start(option: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.match(line, refusal(capsys, "fit", f"--config={TINY}", f"--{option}"))


def test_early_stopping_without_validation(capsys: pytest.CaptureFixture[str]) -> None:
    stopping = "{class_path: EarlyStopping, init_args: {monitor: val/loss}}"
    words = [f"--trainer.callbacks+={stopping}", "--trainer.limit_val_batches=0"]
    assert "EarlyStopping.monitor is val/loss, which is not logged" in refusal(
        capsys, "fit", f"--config={TINY}", *words
    )


def test_the_monitor_of_a_module_of_ones_own_is_checked_after_the_sanity_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("own_steps.py").write_text(
        "from gls_lightning import CertifiedTrainingModule\n"
        "class OwnSteps(CertifiedTrainingModule):\n"
        "    def validation_step(self, batch, batch_idx):\n"
        "        self.log('val/own', 0.0)\n"
    )
    words = ["fit", f"--config={TINY}", "--imports=[own_steps]", "--model=OwnSteps"]
    main([*words, "--checkpoint.monitor=val/own", "--trainer.max_steps=1", "--trainer.logger.save_dir=own"])
    with pytest.raises(SystemExit):
        main([*words, "--checkpoint.monitor=val/owm"])
    assert "RunCheckpoint.monitor is val/owm, which is not logged; near: val/own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("modle: {class_path: Own}\n", r"modle: there is no such key; near: model \(mine.yaml, line 2\)$"),
        ("model:\n  init_args:\n    epsilonn: 1\n", r"model.epsilonn: .*; near: epsilon \(mine.yaml, line 4\)$"),
        (
            "trainer:\n  max_epoch: 3\n",
            r"trainer.max_epoch: .* no such key; near: trainer.max_epochs, .*line 3\)$",
        ),
        ("trainer:\n  callbacks: [FancyLogger]\n", r"trainer.callbacks is FancyLogger, .*\(mine.yaml, line 3\)$"),
        (
            "model:\n  init_args:\n    attack:\n      init_args:\n        stepps: 3\n",
            r"model.attack.stepps: PGD has no option stepps; near: steps, step_size \(mine.yaml, line 6\)$",
        ),
        (
            "data:\n  init_args: {batch_size: big}\n",
            r"data.batch_size is big; .* an integer \(mine.yaml, line 3\)$",
        ),
        ("modle: {}\n", r"modle: there is no such key; near: model \(mine.yaml, line 2\)$"),
        ("trainer: {foo: {}}\n", r"trainer.foo: there is no such key \(mine.yaml, line 2\)$"),
        ("trainer: 3\n", r"trainer is 3; it must be a section of options \(mine.yaml, line 2\)$"),
        ("trainer:\n", r"trainer is empty; it must be a section of options \(mine.yaml, line 2\)$"),
        (
            "model: {init_arg: {epsilon: 1}}\n",
            r"model.init_arg: there is no such key; the section of a training",
        ),
        ("model: 3\n", r"model is 3; it must be a training module, such as Cert.*line 2\)$"),
        ("model: {init_args: {objective: MTLIBP}}\n", r"model.objective: MTLIBP needs alpha"),
        ("trainer: {logger: [CSVLoggr]}\n", r"trainer.logger is CSVLoggr, but .* logger; near: CSVLogger"),
        (
            "trainer: {logger: [{class_path: CSVLogger, init_args: {save_dirr: x}}]}\n",
            r"trainer.logger.save_dirr: CSVLogger has no option save_dirr; near: save_dir \(mine.yaml, line 2\)$",
        ),
        (
            "trainer: {callbacks: {class_path: SWA, init_args: {start_epoch: x}}}\n",
            r"trainer.callbacks.start_epoch is x; it must be an integer \(mine.yaml, line 2\)$",
        ),
        ("samples: 3\n", r"samples: there is no such key.*\(mine.yaml, line 2\)$"),
        ("epsilon_annealing:\n  end_epoc: 3\n", r"epsilon_annealing.end_epoc: .* near: epsilon_annealing.end_epoch"),
    ],
)
def test_configurations(content: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(BASES + content)
    assert re.match(line, refusal(capsys, "fit", "--config=mine.yaml"))


@pytest.mark.parametrize("place", ["__init__", "on_fit_start"])
def test_a_defect_of_ones_own_keeps_its_traceback(place: str) -> None:
    arguments = "self" if place == "__init__" else "self, trainer, pl_module"
    Path(f"defect_{place}.py").write_text(
        "from lightning.pytorch import Callback\n"
        f"class Defect{place}(Callback):\n"
        f"    def {place}({arguments}):\n"
        "        raise ValueError('wrong')\n"
    )
    words = [f"--imports=[defect_{place}]", f"--trainer.callbacks+=Defect{place}"]
    with pytest.raises(ValueError, match="wrong"):
        main(["fit", f"--config={TINY}", *words])


def test_the_file_named_is_the_base_that_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    Path("lower.yaml").write_text(BASES + "# a comment\nmodel: {init_args: {epsilon: many}}\n")
    Path("mine.yaml").write_text("bases: [lower.yaml]\ntrainer: {max_epochs: 1}\n")
    line = refusal(capsys, "fit", "--config=mine.yaml")
    assert re.match(r"model.epsilon is many; it must be a number .*\(lower.yaml, line 3\)$", line)


def test_an_option_is_not_said_to_stand_in_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert ".yaml" not in refusal(capsys, "fit", f"--config={TINY}", "--model.epsilon=many")


def test_an_empty_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.yaml").touch()
    assert "needs data and model, which a configuration gives" in refusal(capsys, "fit", "--config=empty.yaml")


def test_a_configuration_without_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, "fit", "tiny.yaml") == "there is no argument 'tiny.yaml' here; --config tiny.yaml"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("certify --samples=3.5", "samples is 3.5; it must be an integer or null$"),
        ("certify --stages=3", "stages is 3; it must be a list of strings or null$"),
        ("certify --certifier=IBP", "certifier is IBP, a relaxation; a certifier is Certifier$"),
        (
            "certify --epsilon=abc",
            "epsilon is abc; it must be a number such as 0.1 or a fraction such as 8/255 or",
        ),
        ("certify --epsilon=2", "epsilon is 2.0; a radius .*; 2/255 = 0.00784$"),
        ("certify --output=/proc/nope", "output is /proc/nope, where nothing can be written"),
        ("landscape --output=/etc/passwd/x", "output is /etc/passwd/x, below /etc/passwd, which is a file"),
        ("landscape --epsilon=1.5", "epsilon is 1.5; a radius .*; 8/255 = 0.0314$"),
        ("export --output=/proc/nope", "output is /proc/nope, where nothing can be written"),
        ("tightness --radii=[0,x]", "radii is .*; it must be a list of numbers or fractions such as 8/255 or null$"),
        ("tightness --max_epsilon=9", "max_epsilon is 9.0; a radius .*; 9/255 = 0.0353$"),
        ("tightness --radi=[0]", "there is no option --radi; near: --radii"),
    ],
)
@pytest.mark.filterwarnings("ignore:gls .* without ckpt_path")
def test_evaluations(words: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, option = words.split()
    assert re.match(line, refusal(capsys, command, f"--config={TINY}", option))


class TestRadius:
    def test_a_fraction_in_a_configuration_and_on_the_command_line(self, parsed: list[cli.GLSCLI]) -> None:
        Path("mine.yaml").write_text(BASES + "model: {init_args: {epsilon: 8/255}}\n")
        main(["fit", "--config=mine.yaml"])
        main(["fit", "--config=mine.yaml", "--model.epsilon=2/255"])
        assert [run.model.epsilon for run in parsed] == [8 / 255, 2 / 255]
        recorded = [run.config.fit.model.init_args.epsilon for run in parsed]
        assert [float(repr(value)) for value in recorded] == [8 / 255, 2 / 255]

    def test_the_record_of_a_run_reads_back_to_the_same(self) -> None:
        main(["fit", f"--config={TINY}", "--model.epsilon=1/255", "--trainer.max_steps=1"])
        assert f"epsilon: {1 / 255!r}\n" in Path("runs/tiny/version_0/config.yaml").read_text()
        checkpoint = torch.load("runs/tiny/version_0/checkpoints/last.ckpt", weights_only=True)
        assert checkpoint["hyper_parameters"]["epsilon"] == 1 / 255

    @pytest.mark.filterwarnings("ignore:gls .* without ckpt_path")
    def test_of_evaluations(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Any] = []
        monkeypatch.setattr(cli.GLSTrainer, "test", lambda self, module, **options: seen.append(module))
        main(["tightness", f"--config={TINY}", "--radii=[0, 2/255, 0.1]"])
        main(["tightness", f"--config={TINY}", "--max_epsilon=8/255", "--num_radii=2"])
        main(["landscape", f"--config={TINY}", "--epsilon=8/255"])
        main(["certify", f"--config={TINY}", "--epsilon=8/255"])
        assert seen[0].meter.radii == (0, 2 / 255, 0.1)
        assert seen[1].meter.radii == (0, 8 / 255)
        assert seen[2].epsilon == 8 / 255
        assert seen[3].epsilon == 8 / 255


@pytest.mark.parametrize("words", [["--help"], ["-h"]])
def test_help_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(words)
    printed = capsys.readouterr().out
    commands = [*cli.GLSCLI.subcommands(), "configs", "front", "report", "table", "verify"]
    assert re.findall(r"^  (\w+) +[A-Z].*\.$", printed, re.MULTILINE) == commands


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "gls_lightning"]
    assert subprocess.run([*command, "--version"], capture_output=True, text=True).stdout == f"gls {__version__}\n"
    refused = subprocess.run([*command, "fti"], capture_output=True, text=True)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
