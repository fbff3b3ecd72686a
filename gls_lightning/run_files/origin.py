"""Origin of a file: the versions of the software that made it, the commit, and of a run the time that it took."""

import json
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import NamedTuple, Self

from gls_lightning.version import __version__


class RunOrigin(NamedTuple):
    """Origin of a run, as the first line of its configuration tells it.

    Attributes:
        version: Of this package; empty if it is not known.
        commit: Of this package; empty if it is not known.
        changed: ``-dirty`` if files differed from the commit.
        started: When the run, or the last part of a resumed one, started.
        seconds: How long that took; None while it trains, or if it was interrupted.
    """

    version: str = ""
    commit: str = ""
    changed: str = ""
    started: datetime | None = None
    seconds: float | None = None

    @classmethod
    def read(cls, config: str) -> Self:
        """Reads what the text of a configuration says; earlier versions and other programs wrote less, or nothing."""
        first, _, _ = config.partition("\n")
        if not first.startswith("# "):
            return cls()
        version, commit, started, seconds = (
            re.search(pattern, first)
            for pattern in (
                r"\bgls_lightning ([\w.+]+)",
                r"\bcommit (\w+)(-dirty)?",
                rf"{_STARTED}(\S+Z)",
                rf"{_TOOK}(\d+\.\d) s",
            )
        )
        return cls(
            version[1] if version else "",
            commit[1] if commit else "",
            (commit[2] or "") if commit else "",
            _moment(started[1]) if started else None,
            float(seconds[1]) if seconds else None,
        )


_STARTED, _TOOK = "started ", "took "


def origin_of_run(started: datetime, seconds: float | None = None) -> str:
    """Returns the first line of a configuration, without its end.

    Args:
        started: When the run started.
        seconds: How long it took, once it has ended.
    """
    line = f"# {provenance()}, {_STARTED}{started.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return line if seconds is None else f"{line}, {_TOOK}{seconds:.1f} s"


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


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
