"""Origin of a file: the versions of the software that made it, and the commit."""

import json
import subprocess
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from gls_lightning.version import __version__


def provenance() -> str:
    """Returns the versions of this package, PyTorch and Lightning, and this package's commit as far as it is known."""
    software = f"gls_lightning {__version__}, torch {version('torch')}, lightning {version('lightning')}"
    commit = _installed_commit() or _checked_out_commit()
    return f"{software}, commit {commit}" if commit else software


def _installed_commit() -> str:
    """Returns the commit that pip installed from a repository."""
    try:
        origin = json.loads(distribution("gls_lightning").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return ""
    return str(origin.get("vcs_info", {}).get("commit_id", ""))


def _checked_out_commit() -> str:
    """Returns the commit of the checkout that this package is run from, with ``-dirty`` where files differ from it.

    Git is asked about this package's own folder alone: the settings of a repository that somebody else made can start
    programs.
    """
    git = ["git", "-C", str(Path(__file__).parents[1])]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", "version.py"], capture_output=True, check=True, timeout=10)
        words = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(words, capture_output=True, check=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
