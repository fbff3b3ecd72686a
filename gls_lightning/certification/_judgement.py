"""Verdicts from evidence."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from gls_lightning.attacks import margin
from gls_lightning.certification.record import Verdict
from gls_lightning.certification.stages import NaturalStage, Problem

_CONTRADICTION = (
    "after {}, a lower bound lies above the network's own value at a point of the box: a relaxation or the network's "
    "tracing is wrong"
)


class Conclusion(NamedTuple):
    """The verdict on one sample, with its reasons; see :class:`Record` for the attributes."""

    verdict: Verdict
    margin: float | None
    counterexample: Tensor | None = None
    reason: str | None = None


def judge(
    problem: Problem, points: Tensor | None, stage: str, errors: Sequence[str | None] | None = None
) -> list[Conclusion]:
    """Draws conclusions strictly: only a finite bound above 0 certifies, and a contradiction is an error.

    Args:
        problem: The samples, with the best bounds so far.
        points: Candidates for counterexamples, ``[B, *input]``. A point counts only if it is inside the box, and if the
            network's margin there is at most 0 whatever the rounding.
        stage: Name of the latest stage.
        errors: Error of that stage for each sample, if any.
    """
    bounds = problem.lower.amin(1)
    broken = (problem.lower.isnan() | problem.lower.isposinf()).any(1)
    conclusions = [
        Conclusion(Verdict.CERTIFIED if bound > 0 else Verdict.UNKNOWN, bound if math.isfinite(bound) else None)
        for bound in bounds.tolist()
    ]
    if points is not None:
        logits = problem.graph(problem.tensors, points)
        margins = margin(logits, problem.labels)
        inside = problem.contains(points)
        broken |= inside & margins.isnan()
        counts = (problem.upper <= 0).any(1)
        if stage == NaturalStage.name:  # misclassified means: in floating point
            counts |= logits.argmax(1) != problem.labels
        for sample in (inside & (margins <= 0) & counts).nonzero().flatten().tolist():
            conclusions[sample] = Conclusion(Verdict.FALSIFIED, margins[sample].item(), points[sample].cpu())
    for sample in broken.nonzero().flatten().tolist():
        conclusions[sample] = Conclusion(Verdict.ERROR, None, reason=f"{stage} computed no number")
    for sample in problem.contradictions().nonzero().flatten().tolist():
        conclusions[sample] = Conclusion(Verdict.ERROR, None, reason=_CONTRADICTION.format(stage))
    for sample, error in enumerate(errors or ()):
        if error is not None:
            conclusions[sample] = Conclusion(Verdict.ERROR, None, reason=error)
    return conclusions
