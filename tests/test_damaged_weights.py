"""Checkpoints and safetensors that are damaged, foreign or not there."""

import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from common.runs import TINY, tiny_run
from lightning.pytorch import LightningModule, Trainer
from safetensors.torch import save
from torch import Tensor, nn

import gls_lightning
from gls_lightning.checkpoint_io import WholeCheckpointIO
from gls_lightning.errors import ConfigurationError
from gls_lightning.main import main
from gls_lightning.weights import as_safetensors, read_checkpoint, read_tensors

STATE = {"network.a": torch.linspace(0, 1, 50), "network.b": torch.arange(12.0).reshape(3, 4)}

pytestmark = pytest.mark.usefixtures("clean_place")


def damages(content: bytes, ends: int) -> Iterator[bytes]:
    """The content with another byte at each place near both ends and at some between, and cut at some places."""
    generator = random.Random(0)
    places = {*range(ends), *range(len(content) - ends, len(content)), *generator.sample(range(len(content)), 150)}
    for place in sorted(places):
        yield content[:place] + bytes([content[place] ^ generator.randrange(1, 256)]) + content[place + 1 :]
    for length in [*range(0, len(content), len(content) // 50), len(content) - 1]:
        yield content[:length]


def refused_or_unchanged(
    path: Path, contents: Iterator[bytes], read: Callable[[Path], dict[str, Tensor]], expected: dict[str, Tensor]
) -> tuple[int, int]:
    """How many of the contents are refused, and how many read the same; none reads as anything else."""
    counts = [0, 0]
    for content in contents:
        path.write_bytes(content)
        try:
            found = read(path)
        except ConfigurationError:
            counts[0] += 1
            continue
        counts[1] += 1
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    return counts[0], counts[1]


def state_of(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = read_checkpoint(path)["state_dict"]
    return state


def test_no_damage_gives_other_weights() -> None:
    path = Path("a.ckpt")
    WholeCheckpointIO().save_checkpoint({"state_dict": STATE}, path)
    refused, unchanged = refused_or_unchanged(path, damages(path.read_bytes(), 120), state_of, STATE)
    assert refused > 300
    assert unchanged <= len("gls_lightning sha256 ")  # its mark, without which the archive's own count


def test_no_damage_of_a_checkpoint_without_a_checksum_gives_other_weights() -> None:
    """The zip archive's own checksums cover its parts, not what stands between them."""
    torch.save({"state_dict": STATE}, "a.ckpt")
    path = Path("a.ckpt")
    refused, _ = refused_or_unchanged(path, damages(path.read_bytes(), 120), state_of, STATE)
    assert refused > 150


def test_no_damage_of_safetensors_gives_other_weights() -> None:
    path, content = Path("a.safetensors"), as_safetensors(STATE)
    refused, unchanged = refused_or_unchanged(path, damages(content, 200), read_tensors, STATE)
    assert refused > 300
    assert unchanged <= len("sha256")  # the checksum's name


def test_checkpoints_of_any_writer_are_read() -> None:
    torch.save({"state_dict": STATE}, "legacy.ckpt", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": STATE}, "plain.ckpt")
    WholeCheckpointIO().save_checkpoint({"state_dict": STATE}, "ours.ckpt")
    Path("plain.safetensors").write_bytes(save(STATE))
    for name in ("legacy.ckpt", "plain.ckpt", "ours.ckpt"):
        assert torch.equal(state_of(Path(name))["network.b"], STATE["network.b"])
    assert torch.equal(read_tensors("plain.safetensors")["network.b"], STATE["network.b"])


def test_others_read_our_checkpoints() -> None:
    WholeCheckpointIO().save_checkpoint({"state_dict": STATE, "epoch": 3}, "a.ckpt")
    for mapped in (False, True):
        content = torch.load("a.ckpt", weights_only=True, mmap=mapped)
        assert content["epoch"] == 3
        assert torch.equal(content["state_dict"]["network.b"], STATE["network.b"])


def test_a_lightning_trainer_uses_them() -> None:
    class Model(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def training_step(self, batch: Tensor) -> Tensor:
            return self.layer(batch).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    data = torch.utils.data.DataLoader(torch.ones(4, 2))
    trainer = Trainer(max_epochs=1, accelerator="cpu", plugins=[WholeCheckpointIO()], **quiet)
    trainer.fit(Model(), data)
    trainer.save_checkpoint("a.ckpt")
    goes_on = Trainer(max_epochs=2, accelerator="cpu", plugins=[WholeCheckpointIO()], **quiet)
    goes_on.fit(Model(), data, ckpt_path="a.ckpt")
    assert goes_on.global_step == 8
    content = bytearray(Path("a.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    Path("a.ckpt").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"a\.ckpt is damaged"):
        goes_on.fit(Model(), data, ckpt_path="a.ckpt")


class Unknown:
    """An object that no checkpoint holds."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a run of two steps."""
    run = tiny_run(tmp_path_factory, "--trainer.limit_val_batches=0", "--model.objective=Standard")
    return run / "checkpoints/last.ckpt"


def bad(kind: str, good: Path) -> Path:
    path, content = Path("bad.ckpt"), bytearray(good.read_bytes())
    if kind == "flipped":
        content[len(content) // 3] ^= 64
        path.write_bytes(content)
    elif kind == "directory":
        path.mkdir()
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Unknown()))
    elif kind in ("zero bytes", "cut", "text"):
        path.write_bytes({"zero bytes": b"", "cut": bytes(content[:-500]), "text": b"hello, " * 100}[kind])
    else:
        state = torch.load(good, weights_only=True)
        contents = {
            "state alone": state["state_dict"],
            "no state": {**state, "state_dict": 5},
            "a list": [1, 2],
            "an object": {**state, "more": Unknown()},
            "another module": {**state, "state_dict": {"layer.weight": torch.zeros(2, 2)}},
            "weights alone": {name: state[name] for name in ("state_dict", "module_class")},
        }
        torch.save(contents[kind], path)
    return path


KINDS = {
    "zero bytes": "is damaged or no checkpoint",
    "cut": "is damaged: bytes are missing",
    "flipped": "is damaged: bytes are missing, or are not those",
    "text": "is damaged or no checkpoint",
    "pickle": "is damaged or no checkpoint",
    "directory": "is a directory; a checkpoint is a file",
    "state alone": "is no checkpoint of a training run",
    "no state": "is no checkpoint of a training run",
    "a list": "is no checkpoint of a training run",
    "an object": "holds an object of ",
    "another module": "another architecture",
    "weights alone": "holds weights alone, without pytorch-lightning_version",
}


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a command line fails."""
    with pytest.raises(SystemExit) as exit_:
        main(list(words))
    assert exit_.value.code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("gls: "))
    return line


@pytest.mark.parametrize("kind", KINDS)
def test_one_line_for_every_kind(kind: str, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bad(kind, good)
    assert KINDS[kind] in refused(capsys, "test", "--config", TINY, "--ckpt_path", str(path))
    if kind != "weights alone":  # which suffice to load
        with pytest.raises(ConfigurationError):
            gls_lightning.load(path)
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["fit", "validate", "tightness", "landscape", "certify", "export"])
@pytest.mark.parametrize("kind", ["flipped"])
def test_one_line_in_every_command(kind: str, command: str, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bad(kind, good)
    assert KINDS[kind] in refused(capsys, command, "--config", TINY, "--ckpt_path", str(path))
    assert not Path("runs").exists()


def test_training_does_not_go_on_from_weights_alone(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bad("weights alone", good)
    message = refused(capsys, "fit", "--config", TINY, "--ckpt_path", str(path))
    assert "a fit takes them as model.init_from" in message
    main(["fit", "--config", TINY, f"--model.init_from={path}", "--trainer.max_steps=1"])


def test_training_does_not_go_on_with_another_optimizer(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "fit", "--config", TINY, "--ckpt_path", str(good), "--model.optimizer=SGD")
    assert "model.optimizer is torch.optim.SGD, but " in message
    assert "holds the state of torch.optim.Adam" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged or no file of safetensors"),
        (b"hello", "is damaged or no file of safetensors"),
        (as_safetensors(STATE)[:-9], "is damaged or no file of safetensors"),
        (as_safetensors(STATE)[:-9] + b"x" * 9, "is damaged: bytes are not those that were written"),
        (as_safetensors(STATE), "another architecture"),
    ],
)
def test_one_line_for_safetensors(content: bytes, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.safetensors").write_bytes(content)
    assert message in refused(capsys, "certify", "--config", TINY, "--ckpt_path=bad.safetensors")


def test_a_file_that_must_not_be_read(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ConfigurationError, match=r"last\.ckpt cannot be read: Permission denied"):
        read_checkpoint(good)
