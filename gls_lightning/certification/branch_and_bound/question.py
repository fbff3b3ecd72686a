"""Questions to branch and bound, and its answers."""

from dataclasses import dataclass

from torch import Tensor

from gls_lightning.bounds import Box


@dataclass(frozen=True)
class Question:
    """Is there a point of a box where all functions of one of several groups are at most 0?

    The functions are linear in the network's outputs. The margins of a sample are groups of one function each; the
    disjuncts of a VNN-LIB property are groups of several.

    Attributes:
        box: The box, each side ``[1, *input]``.
        rows: The functions' coefficients, ``[Q, m, K]``; a group of fewer functions repeats one of them.
        offsets: Their constants, ``[Q, m]``.
    """

    box: Box
    rows: Tensor
    offsets: Tensor


def largest_functions(rows: Tensor, offsets: Tensor, outputs: Tensor) -> Tensor:
    """Returns the value of the largest function of each group, ``[B]``, at outputs ``[B, K]``.

    Args:
        rows: The functions' coefficients, ``[B, m, K]``.
        offsets: Their constants, ``[B, m]``.
        outputs: The network's outputs.
    """
    return ((rows @ outputs.unsqueeze(-1)).squeeze(-1) + offsets).amax(1)


@dataclass(frozen=True)
class Answer:
    """The answer to one question, as far as it was found.

    Attributes:
        number: The question's position.
        lower: For each group a number that its largest function never falls below, ``[Q]``: above 0, there is no such
            point. Groups that were not examined any more, because there is a point, have ``-inf``.
        point: A point of the box where all functions of some group are at most 0, as the network itself evaluates
            them, ``[1, *input]``; None if none was found.
        subdomains: Number of parts of the box that were bounded.
        seconds: Time that they took.
        error: What contradicts itself, so that nothing else here counts; None if nothing does.
    """

    number: int
    lower: Tensor
    point: Tensor | None
    subdomains: int
    seconds: float
    error: str | None = None

    @property
    def decided(self) -> bool:
        """Says whether the answer is yes, with a point, or no, with proof."""
        return self.point is not None or bool((self.lower > 0).all())
