"""Files of ``gls tightness``: ``tightness.json``, and the picture beside it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from gls_lightning.run_files.json_file import write_json


class RelaxationCurve(NamedTuple):
    """Certified accuracy by one relaxation.

    Attributes:
        class_path: The relaxation's class.
        options: Its options that are plain values.
        auc: Area under the curve over the width of the grid.
        certified_accuracy: Fraction of the images at each radius.
        errors: How often it gave no number.
    """

    class_path: str
    options: Mapping[str, Any]
    auc: float
    certified_accuracy: Sequence[float]
    errors: int


_KEYS = ("class", *RelaxationCurve._fields[1:])
"""The entries of a curve."""


@dataclass(frozen=True)
class TightnessCurves:
    """Content of ``tightness.json``, whose entries are these attributes in their order.

    Attributes:
        checkpoint: The file with the weights; None for those of the initialisation.
        network: Class of the network.
        data: Class of the data module.
        epsilon: The model's radius.
        precision: Type of the numbers.
        samples: How many images.
        radii: The radii, increasing.
        relaxations: The curves, by the relaxations' names.
    """

    DIRECTORY: ClassVar[str] = "tightness"
    FILE: ClassVar[str] = "tightness.json"
    PICTURE: ClassVar[str] = "tightness.png"

    checkpoint: str | None
    network: str
    data: str
    epsilon: float
    precision: str
    samples: int
    radii: Sequence[float]
    relaxations: Mapping[str, RelaxationCurve]

    def write(self, directory: Path) -> Path:
        """Writes the file into a directory, and returns it.

        Raises:
            OSError: It cannot be written.
        """
        curves = {name: dict(zip(_KEYS, curve, strict=True)) for name, curve in self.relaxations.items()}
        return write_json(directory / self.FILE, {**vars(self), "relaxations": curves})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file.

        Raises:
            Exception: One of ``DAMAGE``: it is absent, or no such file.
        """
        content = json.loads(path.read_text())
        radii = tuple(map(float, content["radii"]))
        about = content["checkpoint"], content["network"], content["data"], float(content["epsilon"])
        relaxations = {name: _curve(of, len(radii)) for name, of in content["relaxations"].items()}
        return cls(*about, content["precision"], int(content["samples"]), radii, relaxations)


def _curve(content: Mapping[str, Any], radii: int) -> RelaxationCurve:
    accuracies = tuple(map(float, content["certified_accuracy"]))
    if len(accuracies) != radii:
        raise ValueError(f"there are {len(accuracies)} accuracies at {radii} radii")
    kind, options, auc, _, errors = (content[key] for key in _KEYS)
    return RelaxationCurve(kind, options, float(auc), accuracies, int(errors))
