"""The origin of a file."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gls_lightning.run_files import origin
from gls_lightning.version import __version__

ROOT = Path(__file__).parents[2]


def test_of_a_checkout() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    words = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    text = origin.provenance()
    assert text.startswith(f"gls_lightning {__version__}, torch {torch.__version__.partition('+')[0]}")
    assert text.partition(", commit ")[2].removesuffix("-dirty") == commit


def test_of_an_installation_from_a_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = SimpleNamespace(read_text=lambda name: '{"vcs_info": {"vcs": "git", "commit_id": "abc123"}}')
    monkeypatch.setattr(origin, "distribution", lambda name: installed)
    assert origin.provenance().endswith(", commit abc123")


def test_without_any_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A repository around the installed package that does not have it says nothing about it."""
    installed = SimpleNamespace(read_text=lambda name: None)
    monkeypatch.setattr(origin, "distribution", lambda name: installed)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "version.py").touch()
    monkeypatch.setattr(origin, "__file__", str(tmp_path / "run_files" / "origin.py"))
    assert "commit" not in origin.provenance()
