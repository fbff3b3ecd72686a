"""Local robustness in VNN-LIB."""

from collections.abc import Iterator
from decimal import Decimal

from gls_lightning.bounds import Box


def robustness_property(box: Box, label: int, num_classes: int, about: str) -> str:
    """The property that some image of a box is not classified correctly: another logit is at least the label's.

    A verifier that finds it ``unsat`` certifies the image. The numbers are those of the box exactly.

    Args:
        box: The images, each side ``[1, *input]``.
        label: The true class.
        num_classes: Number of logits.
        about: A line of comment.
    """
    return "\n".join(_lines(box, label, num_classes, about)) + "\n"


def _lines(box: Box, label: int, num_classes: int, about: str) -> Iterator[str]:
    lower, upper = (side.flatten().tolist() for side in box)
    yield f"; {about}"
    yield from (f"(declare-const X_{i} Real)" for i in range(len(lower)))
    yield from (f"(declare-const Y_{j} Real)" for j in range(num_classes))
    for i, (least, largest) in enumerate(zip(lower, upper, strict=True)):
        yield f"(assert (>= X_{i} {Decimal(least):f}))"  # all its digits: the shortest number is another one
        yield f"(assert (<= X_{i} {Decimal(largest):f}))"
    yield "(assert (or"
    yield from (f"    (and (>= Y_{j} Y_{label}))" for j in range(num_classes) if j != label)
    yield "))"
