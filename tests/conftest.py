import json
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from types import ModuleType
from typing import Any

import pytest
from common.slurm import stand_in

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads slow small tensors on busy cores
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers have the cores between them

import torch  # after the settings, which PyTorch reads when it is imported

# Once PyTorch's stand-in for a GPU is in use, as in torch.compile, the first gradient of a process starts a thread for
# it, and forked processes take no gradients any more. So the first one comes here.
torch.ones((), requires_grad=True).backward()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference data beside the repository; tests that need it skip where it is absent."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the reference data is not at hand")
    return folder


@pytest.fixture
def clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs lie in a folder of the test, and what it puts on the path is taken off again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for SLURM's commands; the folder where they note what was submitted."""
    if which("bash") is None:
        pytest.skip("the stand-ins are scripts of bash")
    return stand_in(tmp_path, monkeypatch)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The command lines, parsed and instantiated but not run."""
    from gls_lightning.cli import GLSCLI  # takes seconds, which most tests need not wait for

    seen: list[Any] = []
    monkeypatch.setattr(GLSCLI, "_run_subcommand", lambda self, subcommand: seen.append(self))
    return seen


@pytest.fixture
def wandb(clean_place: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """W&B without a network, its files in the test's folder."""
    wandb = pytest.importorskip("wandb")
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(Path.cwd())}.items():
        monkeypatch.setenv(name, value)
    yield wandb
    wandb.finish()
    wandb.teardown()  # the service keeps to the folder in which it started


@dataclass
class WandbLog:
    """What an offline run of W&B recorded.

    Attributes:
        rows: The history, each row by key.
        summaries: What the summary keeps of a metric, such as max, by the metric.
        charts: Keys of the charts.
        config: The configuration by key.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    summaries: dict[str, set[str]] = field(default_factory=dict)
    charts: set[str] = field(default_factory=set)
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def last(self) -> dict[str, Any]:
        """The last value of each key of the history."""
        return {key: value for row in self.rows for key, value in row.items()}

    def add(self, record: Any) -> None:
        """Takes up one record of the log."""
        if record.history.item:
            items = record.history.item
            self.rows.append({i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items})
        if record.HasField("metric"):
            kept = {name.name for name, value in record.metric.summary.ListFields() if value is True}
            self.summaries[record.metric.name] = kept
        for update in record.config.update:
            if update.nested_key[1:2] == ["visualize"]:
                self.charts.add(update.nested_key[2])
            elif update.key:
                self.config[update.key] = json.loads(update.value_json)


@pytest.fixture
def finished_run(wandb: ModuleType) -> Callable[[Path], WandbLog]:
    """Ends the run whose files lie in a folder, and reads its log."""

    def read(files: Path) -> WandbLog:
        wandb.finish()
        (path,) = files.parent.glob("*.wandb")
        deadline = time.monotonic() + 60
        while (log := _read_log(path.read_bytes())) is None:  # finish may return before all is written
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return log

    return read


def _read_log(content: bytes) -> WandbLog | None:
    """The records of a log, which has LevelDB's format; None before its end is written."""
    from wandb.proto.wandb_internal_pb2 import Record

    offset, parts, log = 7, b"", WandbLog()
    while len(content) >= offset + 7:  # records in chunks with a header of 7 bytes, in blocks
        if (left := 32768 - offset % 32768) < 7:
            offset += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, offset)
        parts += content[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4) and offset <= len(content):  # a whole record, or its last chunk
            record, parts = Record.FromString(parts), b""
            log.add(record)
            if record.HasField("exit"):
                return log
    return None
