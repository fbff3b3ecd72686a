"""The list of commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gls_lightning import commands
from gls_lightning.data import Digits
from gls_lightning.main import main
from gls_lightning.module import CertifiedTrainingModule
from gls_lightning.networks import CNN3Tiny
from gls_lightning.relaxations import IBP
from gls_lightning.trainer import GLSTrainer

HEAVY = "import sys, gls_lightning.main; gls_lightning.main.main(['--help']); assert 'torch' not in sys.modules"


@pytest.mark.parametrize("name", [*commands.MODEL_COMMANDS, *commands.PLAIN_COMMANDS])
def test_a_command_says_of_itself_what_the_list_says_of_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    described = commands.descriptions()[name]
    assert (commands.command(name).__doc__ or "").startswith(f"{described}\n")
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert described in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", commands.MODEL_COMMANDS)
def test_options_of_the_weights_are_those_of_every_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    printed = capsys.readouterr().out
    assert "--ckpt_path CKPT_PATH" in printed
    assert "--weights_only" in printed
    assert getattr(GLSTrainer, name).__doc__ == commands.command(name).__doc__


def test_commands_are_methods_of_the_trainer(tmp_path: Path) -> None:
    module = CertifiedTrainingModule(network=CNN3Tiny(input_shape=(1, 8, 8)), epsilon=0.01)
    trainer = GLSTrainer(logger=False, enable_progress_bar=False, accelerator="cpu")
    data = Digits(test_size=50)
    trainer.tightness(module, data, relaxations=[IBP()], radii=[0, 0.01], samples=3, output=tmp_path)
    content = json.loads((tmp_path / "tightness.json").read_text())
    assert (content["samples"], content["checkpoint"], content["data"]) == (3, None, "Digits")


def test_the_list_imports_no_pytorch() -> None:
    subprocess.run([sys.executable, "-c", HEAVY], check=True, stdout=subprocess.DEVNULL)
