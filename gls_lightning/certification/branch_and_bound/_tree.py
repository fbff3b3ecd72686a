"""The search for the answer to one question."""

import heapq
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from gls_lightning.bounds import Box
from gls_lightning.certification.branch_and_bound.question import Answer, Question

FIRST_PROGRAM = 64
"""Subdomains after which a linear program first looks for a point; it takes as long as bounding many of them."""


@dataclass(frozen=True, eq=False)
class Subdomain:
    """A part of a box that is to be bounded. The one with the lowest known bound comes first.

    Attributes:
        lower: A lower bound from what it is a part of.
        relus: Positions of the ReLUs that are split, ``[D]``.
        signs: Their signs, 1 or -1, ``[D]``, int8.
        multipliers: Where the optimisation of the splits' multipliers starts, ``[D]``.
        shares: Where that of the lower slopes starts, 255 standing for 1, ``[N]``, uint8.
    """

    lower: float
    relus: Tensor
    signs: Tensor
    multipliers: Tensor
    shares: Tensor

    def __lt__(self, other: "Subdomain") -> bool:
        return self.lower < other.lower

    @classmethod
    def whole(cls, relu_box: Box) -> "Subdomain":
        """Returns the whole box, with DeepPoly's slopes."""
        none = torch.empty(0, device=relu_box.lower.device)
        shares = (relu_box.upper > -relu_box.lower).squeeze(0) * torch.tensor(255, dtype=torch.uint8)
        return cls(-inf, none.long(), none.to(torch.int8), none, shares)

    def parts(self, relu: Tensor, *, lower: float, multipliers: Tensor, shares: Tensor) -> "list[Subdomain]":
        """Returns the two parts where the ReLU at this position is active and where it is dead.

        Args:
            relu: The position, 0-dim.
            lower: What this subdomain's bound turned out to be.
            multipliers: The multipliers that gave it, ``[N]``.
            shares: The lower slopes that gave it, ``[N]``.
        """
        relus = torch.cat([self.relus, relu[None]])
        kept = (shares * 255).round().to(torch.uint8)
        signs = (torch.cat([self.signs, self.signs.new_tensor([sign])]) for sign in (1, -1))
        return [Subdomain(lower, relus, sign, multipliers[relus], kept) for sign in signs]


class Tree:
    """The open subdomains of a question, whose groups are examined one after the other.

    Args:
        number: The question's position.
        question: The question.
        relu_box: Bounds of the ReLU inputs over the whole box, each side ``[1, N]``.

    Attributes:
        group: The group that is examined now.
        point: The point that was found, if any.
        seconds: Time spent.
        done: Whether there is nothing left to examine.
        error: What contradicts itself, if anything does; it ends the search.
    """

    def __init__(self, number: int, question: Question, relu_box: Box) -> None:
        self.number = number
        self.question = question
        self.relu_box = relu_box
        self.group = 0
        self.point: Tensor | None = None
        self.seconds = 0.0
        self.done = False
        self.error: str | None = None
        self._subdomains = 0
        self._lower = question.offsets.new_full((len(question.rows),), -inf)
        self._next_program = FIRST_PROGRAM
        self._start()

    def _start(self) -> None:
        self._open = [Subdomain.whole(self.relu_box)]
        self._least = self._smallest = inf
        self._proven = -inf

    @property
    def has_open(self) -> bool:
        """Says whether a subdomain can be taken."""
        return bool(self._open) and not self.done

    def comes_due(self) -> bool:
        """Says, and notes, whether the subdomains have doubled in number since this was last true."""
        due = self._subdomains >= self._next_program
        if due:
            self._next_program = 2 * self._subdomains
        return due

    def take(self) -> Subdomain:
        """Takes out the open subdomain with the lowest bound."""
        self._subdomains += 1
        return heapq.heappop(self._open)

    def close(self, lower: float) -> None:
        """Notes that a subdomain is done with this bound: above 0 it is proven, otherwise it stays undecided."""
        self._least = min(self._least, lower)

    def branch(self, parts: list[Subdomain]) -> None:
        """Puts parts in place of a subdomain."""
        for part in parts:
            heapq.heappush(self._open, part)

    def try_point(self, point: Tensor, value: float) -> None:
        """Notes an upper bound of the largest function at a point of the box; at most 0, the question is answered."""
        self._smallest = min(self._smallest, value)
        self._compare()
        if value <= 0 and self.point is None:
            self.point, self.done = point, True

    def prove(self, lower: float) -> None:
        """Notes a lower bound over the whole box."""
        self._proven = lower
        self._compare()

    def _compare(self) -> None:
        if self._proven > self._smallest:
            self.fail(f"branch and bound proved {self._proven} where a point has {self._smallest}: a bound is wrong")

    def fail(self, error: str) -> None:
        """Ends the search because of a contradiction."""
        self.error, self.done = error, True

    def finish_group(self) -> None:
        """Goes on to the next group once no subdomain of this one is left."""
        if self._open or self.done:
            return
        self.prove(self._least)
        if self.error is not None:
            return
        self._lower[self.group] = self._least
        self.group += 1
        self.done = self.group == len(self.question.rows)
        if not self.done:
            self._start()

    def answer(self) -> Answer:
        """Returns all that is known now."""
        lower = self._lower.clone()
        if self.error is not None:
            return Answer(self.number, lower.fill_(-inf), None, self._subdomains, self.seconds, self.error)
        if not self.done:
            lower[self.group] = min([self._least, *(subdomain.lower for subdomain in self._open)])
        return Answer(self.number, lower, self.point, self._subdomains, self.seconds)
