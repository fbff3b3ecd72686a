"""From evidence to verdicts."""

import math
from typing import NamedTuple

from torch import Tensor

from gls_lightning.attacks import margin
from gls_lightning.certification.record import Verdict
from gls_lightning.certification.stages import NaturalStage, Problem
from gls_lightning.errors import ContradictionError


class Conclusion(NamedTuple):
    """What the evidence says about one sample; see :class:`Record` for the attributes."""

    verdict: Verdict
    margin: float | None
    counterexample: Tensor | None = None


def judge(problem: Problem, points: Tensor | None, stage: str) -> list[Conclusion]:
    """Concludes strictly: what is not a finite number or not above 0 certifies nothing.

    Args:
        problem: The samples, with the best bounds so far.
        points: Candidates for counterexamples, ``[B, *input]``. Each counts only inside the box, and if the
            network's margin there is at most 0 in spite of rounding.
        stage: Whose evidence is the latest.

    Raises:
        ContradictionError: A bound lies above a value that it should bound.
    """
    if (contradictions := problem.indices[problem.contradictions()]).numel():
        raise ContradictionError(
            f"after {stage}, a lower bound lies above the network's own value at a point of the box, for sample "
            f"{contradictions[0]}: a relaxation or the network's tracing is wrong"
        )
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
        if stage == NaturalStage.name:  # what is misclassified, is so in floating point
            counts |= logits.argmax(1) != problem.labels
        for sample in (inside & (margins <= 0) & counts).nonzero().flatten().tolist():
            conclusions[sample] = Conclusion(Verdict.FALSIFIED, margins[sample].item(), points[sample].cpu())
    for sample in broken.nonzero().flatten().tolist():
        conclusions[sample] = Conclusion(Verdict.ERROR, None)
    return conclusions
