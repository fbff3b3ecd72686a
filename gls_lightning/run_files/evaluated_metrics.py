"""File of ``gls test`` and ``gls validate``: ``metrics.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from gls_lightning.run_files.result_file import ResultFile


@dataclass(frozen=True)
class EvaluatedMetrics(ResultFile):
    """Content of ``metrics.json``, which lies in the directory of the command that wrote it.

    Attributes:
        checkpoint: The file with the weights; None for those of the initialisation.
        network: Class of the network.
        data: Class of the data module.
        epsilon: The model's radius.
        samples: How many images; None where that is not known.
        metrics: The metrics by name; None for what is not finite.
    """

    FILE: ClassVar[str] = "metrics.json"

    checkpoint: str | None
    network: str
    data: str
    epsilon: float
    samples: int | None
    metrics: Mapping[str, float | None]
