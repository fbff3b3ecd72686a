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
        directory: Its name.
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
    for path in sorted(run.glob(f"*/{SUMMARY}"), key=lambda path: (path.parent.name != "certification", path)):
        try:
            summaries.append(_summary(path.parent.name, json.loads(path.read_text())))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError) as error:
            notes.append(f"{path.parent.name}/{SUMMARY} is no summary of gls certify: {type(error).__name__}, {error}")
    begun = {path.parent for path in run.glob("*/records-*.jsonl") if not (path.parent / SUMMARY).is_file()}
    notes += [f"{path.name} has records but no {SUMMARY}; gls certify goes on there" for path in sorted(begun)]
    return summaries, notes


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
