"""File of ``gls front``: ``front.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from gls_lightning.run_files.result_file import ResultFile


@dataclass(frozen=True)
class FrontTrial:
    """A trial that ended.

    Attributes:
        number: Its number in the search.
        values: What it varies, by the key.
        natural: Natural accuracy on the held-out images, a fraction.
        certified: Certified accuracy there.
        pruned: Whether it was ended early.
    """

    number: int
    values: Mapping[str, Any]
    natural: float
    certified: float
    pruned: bool


@dataclass(frozen=True)
class FrontPoint:
    """A point of the front, trained again with seeds that no choice was made with.

    Attributes:
        trial: Number of the trial.
        seeds: The seeds; each of the following has one fraction for each of them.
        natural: Natural accuracies on the held-out images.
        certified: Certified accuracies there.
        test_natural: Natural accuracies on the test images.
        test_certified: Certified accuracies there.
    """

    trial: int
    seeds: Sequence[int]
    natural: Sequence[float]
    certified: Sequence[float]
    test_natural: Sequence[float]
    test_certified: Sequence[float]


@dataclass(frozen=True)
class FrontFile(ResultFile):
    """Content of ``front.json``, which lies in the directory of a search.

    Attributes:
        config: The configuration.
        sampler: Who chose the values.
        trials: The trials that ended.
        failed: How many failed.
        points: Those of the front.
    """

    FILE: ClassVar[str] = "front.json"

    config: str
    sampler: str
    trials: Sequence[FrontTrial]
    failed: int
    points: Sequence[FrontPoint]
