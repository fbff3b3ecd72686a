"""The pictures of loss landscapes that a run left behind."""

import json
import re
from pathlib import Path
from typing import Any

from gls_lightning.reports.document import Picture, Section

PICTURES = ("curves", "scores", "population", "surface")
ABOUT = ("axes", "noise", "checkpoint")
"""What the title does not say."""


def picture_sections(run: Path, name: str) -> list[Section]:
    """The loss landscapes of ``gls landscape``, and the newest of training.

    Args:
        run: The directory of the run.
        name: Begins the names of the pictures.
    """
    landscape = run / "landscape"
    matches = ((path, re.fullmatch(r"epoch=(\d+)", path.name)) for path in landscape.glob("epoch=*"))
    epochs = {int(match[1]): path for path, match in matches if match}
    folders = {"Loss landscape": landscape}
    folders |= {f"Loss landscape of {path.name}": path for path in sorted(landscape.glob("*")) if path.is_dir()}
    folders = {heading: path for heading, path in folders.items() if path not in epochs.values()}
    if epochs:
        folders[f"Loss landscape during training, epoch {max(epochs)}"] = epochs[max(epochs)]
    return [
        section
        for number, (heading, folder) in enumerate(folders.items())
        if (section := _landscape(folder, heading, f"{name}-landscape-{number}"))
    ]


def _landscape(folder: Path, heading: str, name: str) -> Section | None:
    """The pictures of a folder; None if there are none."""
    files = {kind: folder / f"{kind}.png" for kind in PICTURES}
    found = {kind: file.read_bytes() for kind, file in files.items() if file.is_file()}
    if not found:
        return None
    notes, title, about = [], "loss landscape", list[str]()
    try:
        content = json.loads((folder / "landscape.json").read_text())
        title = str(content["title"])
        about = [f"{key}: {_words(content[key])}" for key in ABOUT if content.get(key) is not None]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        notes.append(f"landscape.json does not say what these pictures are of: {type(error).__name__}, {error}")
    pictures = [Picture(f"{name}-{kind}", f"{title}: {kind}", kind, png) for kind, png in found.items()]
    return Section(heading, notes, [title, *about], pictures=pictures)


def _words(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
