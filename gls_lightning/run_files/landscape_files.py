"""Files of a loss landscape: ``landscape.json``, tables and pictures, and the places of those that training leaves."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from gls_lightning.run_files.json_file import write_json

PICTURES = ("curves", "scores", "population", "surface")
"""Names of the pictures of landscapes; some are of lines alone or of planes alone."""


def table_file(name: str) -> str:
    """Returns the file's name of a table of numbers: ``curves.csv``, and ``scores.csv`` along a line."""
    return f"{name}.csv"


def picture_file(name: str) -> str:
    """Returns the file's name of a picture, such as ``curves.png``."""
    return f"{name}.png"


@dataclass(frozen=True)
class LandscapeDescription:
    """Content of ``landscape.json``: what the numbers and pictures beside it are of.

    Attributes:
        title: What stands above the pictures.
        about: Further entries, as values of JSON.
        axes: What each axis is.
        lengths: What 1 on each axis is in the l2 norm of the parameters.
    """

    DIRECTORY: ClassVar[str] = "landscape"
    FILE: ClassVar[str] = "landscape.json"

    title: str
    about: Mapping[str, Any]
    axes: Sequence[str]
    lengths: Sequence[float]

    def write(self, directory: Path) -> Path:
        """Writes the file into a directory, and returns it.

        Raises:
            OSError: It cannot be written.
        """
        entries = {"title": self.title, **self.about, "axes": self.axes, "lengths": self.lengths}
        return write_json(directory / self.FILE, entries)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Reads the file of a directory.

        Raises:
            Exception: One of ``DAMAGE``: it is absent, or no such file.
        """
        content = json.loads((directory / cls.FILE).read_text())
        title, axes, lengths = str(content.pop("title")), tuple(content.pop("axes")), tuple(content.pop("lengths"))
        return cls(title, content, axes, lengths)


def epoch_landscape(run: Path, epoch: int) -> Path:
    """Returns the directory for the landscape of an epoch of training."""
    return run / LandscapeDescription.DIRECTORY / f"epoch={epoch}"


def epoch_landscapes(run: Path) -> dict[int, Path]:
    """Returns the directories with landscapes of training, by the epoch; those of checkpoints have other names."""
    matches = (
        (re.fullmatch(r"epoch=(\d+)", path.name), path)
        for path in (run / LandscapeDescription.DIRECTORY).glob("epoch=*")
    )
    return {int(match[1]): path for match, path in matches if match}
