"""The origin of a file."""

import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gls_lightning.version import __version__

provenance_module = import_module("gls_lightning.run_files.provenance")  # the face exports a function of this name
ROOT = Path(__file__).parents[1]


def test_of_a_checkout() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    words = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    text = provenance_module.provenance()
    assert text.startswith(f"gls_lightning {__version__}, torch {torch.__version__.partition('+')[0]}")
    assert text.partition(", commit ")[2].removesuffix("-dirty") == commit


def test_of_an_installation_from_a_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    origin = SimpleNamespace(read_text=lambda name: '{"vcs_info": {"vcs": "git", "commit_id": "abc123"}}')
    monkeypatch.setattr(provenance_module, "distribution", lambda name: origin)
    assert provenance_module.provenance().endswith(", commit abc123")


def test_without_any_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A repository around the installed package that does not have it says nothing about it."""
    origin = SimpleNamespace(read_text=lambda name: None)
    monkeypatch.setattr(provenance_module, "distribution", lambda name: origin)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "version.py").touch()
    monkeypatch.setattr(provenance_module, "__file__", str(tmp_path / "run_files" / "provenance.py"))
    assert "commit" not in provenance_module.provenance()
