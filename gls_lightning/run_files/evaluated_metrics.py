"""File of ``gls test`` and ``gls validate``: ``metrics.json``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from gls_lightning.run_files.json_file import write_json


@dataclass(frozen=True)
class EvaluatedMetrics:
    """Content of ``metrics.json``, whose entries are these attributes in their order.

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

    def write(self, directory: Path) -> Path:
        """Writes the file into a directory, and returns it.

        Raises:
            OSError: It cannot be written.
        """
        return write_json(directory / self.FILE, vars(self), finite=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file.

        Raises:
            Exception: One of ``DAMAGE``: it is absent, or no such file.
        """
        content = json.loads(path.read_text())
        metrics = {name: None if value is None else float(value) for name, value in content["metrics"].items()}
        samples = None if content["samples"] is None else int(content["samples"])
        about = content["checkpoint"], content["network"], content["data"], float(content["epsilon"])
        return cls(*about, samples, metrics)
