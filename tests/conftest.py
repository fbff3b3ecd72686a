import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads slow small tensors on busy cores

from gls_lightning import cli  # after the setting, which PyTorch reads when it is imported


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
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[cli.GLSCLI]:
    """The command lines, parsed and instantiated but not run."""
    seen: list[cli.GLSCLI] = []
    monkeypatch.setattr(cli.GLSCLI, "_run_subcommand", lambda self, subcommand: seen.append(self))
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
