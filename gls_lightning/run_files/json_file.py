"""JSON files with results of commands."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gls_lightning.run_files.whole_file import write_whole

DAMAGE = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
"""The errors with which reading a file ends that does not say what such a file says."""


def write_json(path: Path, content: Mapping[str, Any], *, finite: bool = False) -> Path:
    """Writes a file, and makes its directory where there is none.

    Args:
        path: The file; one that is there is replaced.
        content: The entries.
        finite: Whether numbers that are not finite, for which JSON has no words, are refused.

    Returns:
        The file.

    Raises:
        OSError: It cannot be written.
        ValueError: A number is not finite, but must be.
    """
    text = json.dumps(content, indent=2, allow_nan=not finite)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda draft: draft.write_text(text + "\n"))
    return path
