"""File of ``gls test`` and ``gls validate``: ``metrics.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from gls_lightning.run_files.result_file import EvaluationFile


@dataclass(frozen=True)
class EvaluatedMetrics(EvaluationFile):
    """Content of ``metrics.json``, which lies in the directory of the command that wrote it.

    Attributes:
        samples: How many images; None where that is not known.
        metrics: The metrics by name; None for what is not finite.
    """

    FILE: ClassVar[str] = "metrics.json"

    samples: int | None
    metrics: Mapping[str, float | None]
