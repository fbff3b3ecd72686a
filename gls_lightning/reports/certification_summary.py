"""What ``gls certify`` found out about a run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gls_lightning.reports.metric_table import ACCURACIES

SUMMARY = "summary.json"


class Share(NamedTuple):
    """Some of the images: how many, and the seconds that they took."""

    samples: int
    seconds: float
    mean: float
    longest: float


@dataclass(frozen=True)
class CertificationSummary:
    """The summary of a directory of records.

    Attributes:
        directory: Where it is in the run.
        checkpoint: Where the weights came from.
        dataset: Whose test images they are.
        epsilon: Radius.
        missing: How many images were to be certified and have no record yet.
        accuracies: Fractions of the images.
        intervals: Their 95 % Clopper-Pearson intervals.
        verdicts: The images with each verdict.
        stages: The images that each stage decided.
        total: All images.
    """

    directory: str
    checkpoint: str
    dataset: str
    epsilon: float
    missing: int
    accuracies: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    verdicts: Mapping[str, Share]
    stages: Mapping[str, Share]
    total: Share


def read_summaries(run: Path) -> tuple[list[CertificationSummary], list[str]]:
    """The summaries in the directories of a run, and what is wrong with them."""
    summaries, notes = [], []
    folders = sorted({path.parent.relative_to(run) for path in _anywhere(run, SUMMARY)})
    for folder in sorted(folders, key=lambda folder: folder.parts[0] != "certification"):
        try:
            summaries.append(_summary(str(folder), json.loads((run / folder / SUMMARY).read_text())))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError) as error:
            notes.append(f"{folder}/{SUMMARY} is no summary of gls certify: {type(error).__name__}, {error}")
    begun = {path.parent.relative_to(run) for path in _anywhere(run, "records-*.jsonl")}.difference(folders)
    notes += [f"{folder} has records but no {SUMMARY}; gls certify goes on there" for folder in sorted(begun)]
    return summaries, notes


def _anywhere(run: Path, name: str) -> list[Path]:
    return [path for pattern in (f"*/{name}", f"*/*/{name}") for path in run.glob(pattern)]


def _summary(directory: str, content: Mapping[str, Any]) -> CertificationSummary:
    about = content["fingerprint"]
    return CertificationSummary(
        directory,
        str(content["checkpoint"] or "initialisation"),
        str(about["dataset"]),
        float(about["epsilon"]),
        int(content["missing"]),
        {name: _fraction(content[f"{name}_accuracy"]) for name in ACCURACIES},
        {name: _interval(content["intervals"][f"{name}_accuracy"]) for name in ACCURACIES},
        {name: _share(share) for name, share in content["verdicts"].items()},
        {name: _share(share) for name, share in content["stages"].items()},
        _share(content["total"]),
    )


def _fraction(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"an accuracy is {value}")
    return float(value)


def _interval(value: list[float]) -> tuple[float, float]:
    low, high = map(_fraction, value)
    return low, high


def _share(content: Mapping[str, Any]) -> Share:
    return Share(int(content["samples"]), *(float(content[name]) for name in ("seconds", "mean", "longest")))
