"""Files of ``gls tightness``: ``tightness.json``, and the picture beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from gls_lightning.run_files.result_file import EvaluationFile


@dataclass(frozen=True)
class RelaxationCurve:
    """Certified accuracy by one relaxation.

    Attributes:
        class_: The relaxation's class.
        options: Its options that are plain values.
        auc: Area under the curve over the width of the grid.
        certified_accuracy: Fraction of the images at each radius.
        errors: How often it gave no number.
    """

    class_: str
    options: Mapping[str, Any]
    auc: float
    certified_accuracy: Sequence[float]
    errors: int


@dataclass(frozen=True)
class TightnessCurves(EvaluationFile):
    """Content of ``tightness.json``.

    Attributes:
        precision: Type of the numbers.
        samples: How many images.
        radii: The radii, increasing.
        relaxations: The curves, by the relaxations' names.
    """

    DIRECTORY: ClassVar[str] = "tightness"
    FILE: ClassVar[str] = "tightness.json"
    PICTURE: ClassVar[str] = "tightness.png"
    FINITE: ClassVar[bool] = False

    precision: str
    samples: int
    radii: Sequence[float]
    relaxations: Mapping[str, RelaxationCurve]

    def __post_init__(self) -> None:
        """Checks what readers rely on."""
        for name, curve in self.relaxations.items():
            if len(curve.certified_accuracy) != len(self.radii):
                raise ValueError(f"{name} has {len(curve.certified_accuracy)} accuracies at {len(self.radii)} radii")
