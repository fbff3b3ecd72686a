"""Checkpoints whose weights are NaN or infinite, in every command that reads one."""

from pathlib import Path

import pytest
import torch

import gls_lightning
from gls_lightning.errors import ConfigurationError
from gls_lightning.main import main

TINY = Path(__file__).parent / "configs" / "tiny.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run whose output layer was spoilt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("spoilt"))
        options = ["--data.train_size=32", "--data.test_size=8", "--model.relaxation=IBP"]
        main(["fit", f"--config={TINY}", *options, "--trainer.max_steps=1", "--trainer.limit_val_batches=0"])
        path = Path("runs/tiny/version_0/checkpoints/last.ckpt").absolute()
    content = torch.load(path, weights_only=True)
    name = [name for name in content["state_dict"] if name.startswith("network.")][-1]
    content["state_dict"][name][0] = float("nan")
    torch.save(content, path)
    return path


@pytest.mark.parametrize("command", ["fit", "validate", "test", "certify", "tightness", "landscape", "export"])
def test_are_refused(
    command: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main([command, f"--ckpt_path={run}"])
    assert stopped.value.code == 2
    *_, line = capsys.readouterr().err.strip().splitlines()
    assert "holds numbers that are not finite, in network." in line


def test_are_refused_in_python(run: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"not finite, in network\."):
        gls_lightning.load(run)
