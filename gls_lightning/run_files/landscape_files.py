"""Files of a loss landscape: ``landscape.json``, tables and pictures, and the places of those that training leaves."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from typing_extensions import override

from gls_lightning.run_files.result_file import ResultFile

PICTURES = ("curves", "scores", "population", "surface")
"""Names of the pictures of landscapes; some are of lines alone or of planes alone."""


@dataclass(frozen=True)
class LandscapeDescription(ResultFile):
    """Content of ``landscape.json``: what the numbers and pictures beside it are of.

    Attributes:
        title: What stands above the pictures.
        about: Further entries, as values of JSON.
        axes: What each axis is.
        lengths: What 1 on each axis is in the l2 norm of the parameters.
    """

    DIRECTORY: ClassVar[str] = "landscape"
    FILE: ClassVar[str] = "landscape.json"
    FINITE: ClassVar[bool] = False

    title: str
    about: Mapping[str, Any]
    axes: Sequence[str]
    lengths: Sequence[float]

    @override
    def _entries(self) -> dict[str, Any]:
        return {"title": self.title, **self.about, "axes": self.axes, "lengths": self.lengths}

    @classmethod
    @override
    def _restored(cls, entries: dict[str, Any]) -> Self:
        title, axes, lengths = (entries.pop(name) for name in ("title", "axes", "lengths"))
        return super()._restored({"title": title, "about": entries, "axes": axes, "lengths": lengths})


def table_file(name: str) -> str:
    """Returns the file's name of a table of numbers: ``curves.csv``, and ``scores.csv`` along a line."""
    return f"{name}.csv"


def picture_file(name: str) -> str:
    """Returns the file's name of a picture, such as ``curves.png``."""
    return f"{name}.png"


def epoch_landscape(run: Path, epoch: int) -> Path:
    """Returns the directory for the landscape of an epoch of training."""
    return run / LandscapeDescription.DIRECTORY / f"epoch={epoch}"


def epoch_landscapes(run: Path) -> dict[int, Path]:
    """Returns the directories with landscapes of training, by the epoch; those of checkpoints have other names."""
    paths = (run / LandscapeDescription.DIRECTORY).glob("epoch=*")
    matches = ((re.fullmatch(r"epoch=(\d+)", path.name), path) for path in paths)
    return {int(match[1]): path for match, path in matches if match}
