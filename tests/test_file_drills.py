"""Long drills: runs that are killed at any moment, and disks that are full at any place.

Processes are forked from this one, which has imported everything, so that a fit takes a second and not ten.
"""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from gls_lightning.main import main
from gls_lightning.run_files.checksum import is_damaged

TINY = str(Path(__file__).parent / "configs" / "tiny.yaml")
FIT = ["fit", "--config", TINY, "--model.objective=Standard", "--model.estimator=Backprop", "--model.optimizer.lr=1e-4"]
FIT += ["--data.batch_size=8", "--data.test_size=10", "--recovery.every_n_train_steps=1", "--trainer.max_epochs=100000"]
RUN = Path("runs/tiny/version_0")
LAST = RUN / "checkpoints/last.ckpt"
KILLS, FULL_DISKS = 50, 20

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_place")]


def start(words: list[str], output: Path) -> int:
    """Starts ``gls`` in a process of its own; its number."""
    if process := os.fork():
        return process
    code = 1
    try:
        torch.set_num_threads(1)
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
        main(words)
        code = 0
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    finally:
        os._exit(code)


def resumed() -> list[str]:
    return [*FIT, "--ckpt_path", str(LAST)] if LAST.exists() else FIT


def damaged() -> list[Path]:
    """Files that are half there, under their own name or another; checkpoints that cannot be read."""
    files = [path for path in Path("runs").rglob("*") if path.is_file()]
    bad = [path for path in files if path.suffix == ".ckpt" and not path.name.startswith(".") and is_damaged(path)]
    for path in files:
        if path.suffix == ".ckpt" and not path.name.startswith(".") and path not in bad:
            torch.load(path, weights_only=True)
        if path.name == "metrics.csv" and not path.read_bytes().endswith(b"\r\n"):
            bad.append(path)
    return bad


def rows(run: Path) -> list[tuple[int, list[tuple[str, str]]]]:
    with (run / "metrics.csv").open() as lines:
        found = [sorted((name, value) for name, value in row.items() if value) for row in csv.DictReader(lines)]
    return sorted((int(dict(row)["step"]), row) for row in found)


@pytest.fixture
def other_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system here")
    monkeypatch.setenv("TMPDIR", str(shared_memory))


def test_kills(other_file_system: None) -> None:
    """A run that is killed and goes on again and again ends as one that was never interrupted."""
    generator, during_training = random.Random(0), 0
    for _ in range(KILLS):
        step = LAST.stat().st_mtime_ns if LAST.exists() else 0
        process = start(resumed(), Path("output.txt"))
        began = time.monotonic()
        while not (LAST.exists() and LAST.stat().st_mtime_ns != step) and time.monotonic() - began < 60:
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.5))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status), Path("output.txt").read_text()
        during_training += LAST.stat().st_mtime_ns != step
        assert damaged() == []
        assert [path.name for path in RUN.parent.iterdir()] == ["version_0"]
    assert during_training == KILLS

    state = torch.load(LAST, weights_only=True)
    length = f"--trainer.max_epochs={state['epoch'] + 2}"
    assert os.waitpid(start([*resumed(), length], Path("output.txt")), 0)[1] == 0, Path("output.txt").read_text()
    assert not [path for path in (RUN / "checkpoints").iterdir() if path.name.startswith(".")]
    killed, interrupted = rows(RUN), torch.load(LAST, weights_only=True)
    shutil.rmtree("runs")
    assert os.waitpid(start([*FIT, length], Path("output.txt")), 0)[1] == 0
    uninterrupted = torch.load(LAST, weights_only=True)
    print(f"{KILLS} kills within {uninterrupted['global_step']} steps")
    assert interrupted["global_step"] == uninterrupted["global_step"]
    torch.testing.assert_close(interrupted["state_dict"], uninterrupted["state_dict"], rtol=0, atol=0)
    assert killed == rows(RUN)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    folder = Path("disk").absolute()
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    os.chdir("/")
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disks(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full from the beginning, at some checkpoint, or at some line of the metrics."""
    monkeypatch.chdir(small_disk)
    generator, named = random.Random(0), 0
    output = small_disk.parent / "output.txt"
    for _ in range(FULL_DISKS):
        shutil.rmtree("runs", ignore_errors=True)
        process = start([*FIT, "--trainer.max_epochs=200"], output)
        began = time.monotonic()
        wanted = generator.random() < 0.8
        while wanted and not LAST.exists() and time.monotonic() - began < 60:
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.3))
        fill = Path("ballast").open("wb", buffering=0)  # noqa: SIM115
        leave = generator.randrange(0, 60_000)
        free = os.statvfs(small_disk)
        with suppress(OSError):
            fill.write(b"x" * max(0, free.f_bavail * free.f_bsize - leave))
        _, status = os.waitpid(process, 0)
        fill.close()
        Path("ballast").unlink()
        text = output.read_text()
        lines = [line for line in text.splitlines() if line.startswith("gls: ")]
        assert os.waitstatus_to_exitcode(status) in (1, 2), text  # 2 where the disk was full before the run began
        assert len(lines) == 1, text
        assert "Traceback" not in text
        assert damaged() == []
        assert not [path for path in Path("runs").rglob(".*")]
        if LAST.exists():
            named += 1
            newest = next(part for part in lines[0].split() if part.endswith(".ckpt") and Path(part).exists())
            assert "the newest whole checkpoint is" in lines[0]
            words = [*FIT, "--ckpt_path", newest, "--trainer.max_epochs=100000", "--trainer.max_steps=1"]
            assert os.waitpid(start(words, output), 0)[1] == 0, output.read_text()
    print(f"{FULL_DISKS} full disks, {named} with a checkpoint to go on from")
    assert named >= FULL_DISKS // 2
