"""Certified accuracy over the time that each image may take."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

PASSES = ("IBP", "CROWNIBP", "HBox", "DeepPoly")
"""Stages of certification that bound each image once, without optimisation and without branch and bound."""


@dataclass(frozen=True)
class AccuracyOverBudget:
    """Accuracies that a limit of the time for each image would have given.

    A decision counts from the seconds on that all stages together spent on its image. So an image that is not decided,
    because its time ran out or because it is an error, stays open at every limit.

    Attributes:
        samples: Number of all images.
        proofs: Seconds of each certified image, increasing, by the stage that certified it.
        refutations: The same of the images that are misclassified or falsified.

    Example:
        >>> budget = AccuracyOverBudget(4, {"IBP": [0.1], "BranchAndBound": [20.0]}, {"PGD": [0.05]})
        >>> budget.one_pass, budget.certified(1), budget.certified(), budget.open(1)
        (0.25, 0.25, 0.5, 0.5)
    """

    samples: int
    proofs: Mapping[str, Sequence[float]]
    refutations: Mapping[str, Sequence[float]]

    def certified(self, seconds: float = math.inf) -> float:
        """Returns the fraction of images that are certified within so many seconds each."""
        return _count(self.proofs.values(), seconds) / self.samples

    def open(self, seconds: float = math.inf) -> float:
        """Returns the fraction of images that are not decided within so many seconds each."""
        decided = _count((*self.proofs.values(), *self.refutations.values()), seconds)
        return (self.samples - decided) / self.samples

    @property
    def passes(self) -> list[str]:
        """The passes of bounds that have certified an image."""
        return [stage for stage in PASSES if self.proofs.get(stage)]

    @property
    def one_pass(self) -> float:
        """The fraction of images that one pass of each of these bounds certifies, without a search."""
        return _count((self.proofs[stage] for stage in self.passes), math.inf) / self.samples

    @property
    def moments(self) -> list[float]:
        """The seconds at which an image is decided, increasing, each once."""
        return sorted({moment for of in (self.proofs, self.refutations) for times in of.values() for moment in times})


def _count(times: Iterable[Sequence[float]], seconds: float) -> int:
    return sum(bisect_right(of_stage, seconds) for of_stage in times)
