"""Names and places of a run's files."""

from pathlib import Path

import pytest

from gls_lightning.run_files import (
    epoch_landscape,
    epoch_landscapes,
    evaluation_directory,
    is_run,
    metrics_files,
    run_of_checkpoint,
    run_of_folder,
    set_metrics_aside,
)


@pytest.mark.parametrize(
    ("checkpoint", "run"),
    [
        ("runs/a/version_0/checkpoints/last.ckpt", "runs/a/version_0"),
        ("benchmarks/networks/one.safetensors", "benchmarks/networks"),
        ("last.ckpt", "."),
    ],
)
def test_the_run_of_a_checkpoint(checkpoint: str, run: str) -> None:
    assert run_of_checkpoint(Path(checkpoint)) == Path(run) == run_of_folder(Path(checkpoint).parent)
    assert evaluation_directory("test", checkpoint) == Path(run, "test", Path(checkpoint).stem)


def test_the_run_of_a_checkpoint_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.chdir(tmp_path / "checkpoints")
    assert run_of_checkpoint(Path("last.ckpt")) == tmp_path


def test_metrics_of_earlier_parts_come_before_the_last(tmp_path: Path) -> None:
    set_metrics_aside(tmp_path)
    assert metrics_files(tmp_path) == []
    for part in range(11):
        (tmp_path / "metrics.csv").write_text(str(part))
        set_metrics_aside(tmp_path)
    (tmp_path / "metrics.csv").write_text("11")
    assert [path.read_text() for path in metrics_files(tmp_path)] == [str(part) for part in range(12)]


def test_landscapes_of_training_and_those_of_checkpoints(tmp_path: Path) -> None:
    for folder in (epoch_landscape(tmp_path, 9), epoch_landscape(tmp_path, 10), tmp_path / "landscape/epoch=9-step=3"):
        folder.mkdir(parents=True)
    assert {epoch: path.name for epoch, path in epoch_landscapes(tmp_path).items()} == {9: "epoch=9", 10: "epoch=10"}


@pytest.mark.parametrize("other", ["metrics.csv", "checkpoints/", "a.ckpt", "a.safetensors"])
def test_a_run_has_a_configuration_and_something_else(other: str, tmp_path: Path) -> None:
    for name, expected in ((other, False), ("config.yaml", True)):
        path = tmp_path / name
        path.mkdir() if name.endswith("/") else path.touch()
        assert is_run(tmp_path) is expected
    (tmp_path / other).rmdir() if other.endswith("/") else (tmp_path / other).unlink()
    assert not is_run(tmp_path)
