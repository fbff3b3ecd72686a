"""The origin of a file."""

import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gls_lightning.run_files import RunOrigin, origin, origin_of_run
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


def test_what_a_run_says_of_its_origin() -> None:
    started = datetime(2026, 11, 27, 17, 30, 5, tzinfo=timezone(timedelta(hours=1)))
    read = RunOrigin.read(f"{origin_of_run(started, 4000.04)}\nseed_everything: 0\n")
    assert (read.version, read.started, read.seconds) == (__version__, started, 4000.0)
    assert f"commit {read.commit}{read.changed}" in origin.provenance() or not read.commit
    interrupted = RunOrigin.read(origin_of_run(started))
    assert interrupted == read._replace(seconds=None)


@pytest.mark.parametrize(
    "text", ["", "# lightning.pytorch==2.6.6\na: 1", "a: 1\n# gls_lightning 0.1.0", "# started 2026-99-01T00:00:00Z"]
)
def test_what_says_nothing_of_its_origin(text: str) -> None:
    assert RunOrigin.read(text) == RunOrigin()


def test_the_origin_that_an_earlier_version_wrote() -> None:
    text = "# gls_lightning 0.0.9, torch 2.9.0, lightning 2.6.0, commit abc123-dirty\na: 1"
    assert RunOrigin.read(text) == RunOrigin("0.0.9", "abc123", "-dirty")
