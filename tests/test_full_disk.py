"""A disk that takes no more ends a run with one line, and leaves no file half there."""

import errno
import os
from pathlib import Path

import pytest

from gls_lightning.main import main
from gls_lightning.run_files import whole_file
from gls_lightning.run_files.checksum import is_damaged

TINY = str(Path(__file__).parent / "configs" / "tiny.yaml")
FIT = ["fit", "--config", TINY, "--trainer.max_epochs=2", "--data.batch_size=16", "--recovery.every_n_train_steps=3"]
RUN = Path("runs/tiny/version_0")

pytestmark = pytest.mark.usefixtures("clean_place")


def fails_at(patch: pytest.MonkeyPatch, name: str, time: int, number: int = errno.ENOSPC) -> None:
    """Makes the disk full from the so many-th time on that a file of this name is flushed."""
    flush, seen = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal seen
        seen += name in os.readlink(f"/proc/self/fd/{descriptor}").rpartition("/")[2]
        if seen >= time:
            raise OSError(number, os.strerror(number))
        flush(descriptor)

    patch.setattr(os, "fsync", fsync)


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which the fit fails."""
    with pytest.raises(SystemExit) as exit_:
        main(FIT)
    assert exit_.value.code == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("gls: "))
    return line


def assert_nothing_is_half_there() -> None:
    files = [path for path in Path("runs").rglob("*") if path.is_file()]
    assert not [path for path in files if path.name.startswith(".")]
    assert not [path for path in files if path.suffix == ".ckpt" and is_damaged(path)]


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ENOSPC, "No space left on device"),
        (errno.EDQUOT, "Disk quota exceeded"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_while_a_checkpoint_is_written(
    number: int, what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fails_at(patch, "last.ckpt", 2, number)
        line = refused(capsys)
    last, best = (RUN / "checkpoints" / name for name in ("last.ckpt", "best-epoch=0.ckpt"))
    assert line == f"gls: {what} for {last}; the newest whole checkpoint is {best} (epoch 0, step 4)"
    assert_nothing_is_half_there()


def test_before_the_first_checkpoint(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fails_at(monkeypatch, "last.ckpt", 1)
    assert refused(capsys).endswith("last.ckpt; no checkpoint was written before")
    assert_nothing_is_half_there()


@pytest.mark.parametrize("name", ["metrics.csv", "config.yaml"])
def test_while_something_else_is_written(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_at(monkeypatch, name, 2 if name == "metrics.csv" else 1)
    assert f"gls: No space left on device for {RUN / name}; " in refused(capsys)
    assert_nothing_is_half_there()


def test_the_old_best_checkpoint_is_there_until_the_new_one_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, seen = whole_file.write_whole, []

    def fail_at_the_second(path: Path, write_draft: object) -> None:
        seen.append(path.name)
        if path.name == "best-epoch=1.ckpt":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, write_draft)

    monkeypatch.setattr("gls_lightning.checkpoint_io.write_whole", fail_at_the_second)
    with pytest.raises(SystemExit):
        main([*FIT, "--checkpoint.monitor=epoch"])  # each epoch is better than the one before
    assert "best-epoch=1.ckpt" in seen
    assert {path.name for path in (RUN / "checkpoints").iterdir()} == {"best-epoch=0.ckpt", "last.ckpt"}
    assert "the newest whole checkpoint is" in capsys.readouterr().err
