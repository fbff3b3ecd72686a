"""Local robustness in VNN-LIB."""

from collections.abc import Iterator
from decimal import Decimal

from gls_lightning.bounds import Box


def robustness_property(box: Box, label: int, num_classes: int, about: str) -> str:
    """Writes the property that an image of a box is not classified correctly: another logit is at least the label's.

    So the image is certified by the answer ``unsat``. The numbers of the box are written exactly.

    Args:
        box: The images, each side ``[1, *input]``.
        label: The true class.
        num_classes: Number of logits.
        about: A line of comment.

    Example:
        >>> import torch
        >>> box = Box(torch.tensor([[0.25]]), torch.tensor([[0.5]]))
        >>> print(robustness_property(box, label=0, num_classes=2, about="a grey pixel"))
        ; a grey pixel
        (declare-const X_0 Real)
        (declare-const Y_0 Real)
        (declare-const Y_1 Real)
        (assert (>= X_0 0.25))
        (assert (<= X_0 0.5))
        (assert (or
            (and (>= Y_1 Y_0))
        ))
        <BLANKLINE>
    """
    return "\n".join(_lines(box, label, num_classes, about)) + "\n"


def _lines(box: Box, label: int, num_classes: int, about: str) -> Iterator[str]:
    lower, upper = (side.flatten().tolist() for side in box)
    yield f"; {about}"
    yield from (f"(declare-const X_{i} Real)" for i in range(len(lower)))
    yield from (f"(declare-const Y_{j} Real)" for j in range(num_classes))
    for i, (least, largest) in enumerate(zip(lower, upper, strict=True)):
        yield f"(assert (>= X_{i} {Decimal(least):f}))"  # all digits: a shorter number would differ
        yield f"(assert (<= X_{i} {Decimal(largest):f}))"
    yield "(assert (or"
    yield from (f"    (and (>= Y_{j} Y_{label}))" for j in range(num_classes) if j != label)
    yield "))"
