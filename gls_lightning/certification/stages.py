"""The stages of certification: each gathers evidence, none gives a verdict."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple, Self

import torch
from torch import Tensor

from gls_lightning.attacks import Attack
from gls_lightning.bounds import Box, Graph, Tensors, margin_specification
from gls_lightning.certification.branch_and_bound import BranchAndBound, Question
from gls_lightning.certification.point_values import values_from_above
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import Relaxation


class Problem(NamedTuple):
    """Samples to decide; all numbers in float64.

    Attributes:
        graph: The network.
        tensors: Its parameters and buffers.
        inputs: The samples, ``[B, *input]``.
        labels: Their classes, ``[B]``.
        indices: Their indices in the data set, ``[B]``.
        box: What must be classified correctly.
        lower: Best lower bounds so far of the label's logit minus each other one, ``[B, K - 1]``.
        upper: Upper bounds of the smallest value of these differences at any point that was evaluated, ``[B, K - 1]``.
    """

    graph: Graph
    tensors: Tensors
    inputs: Tensor
    labels: Tensor
    indices: Tensor
    box: Box
    lower: Tensor
    upper: Tensor

    @classmethod
    def around(
        cls, graph: Graph, tensors: Tensors, inputs: Tensor, labels: Tensor, indices: Tensor, epsilon: float
    ) -> Self:
        """The problem of certifying the l-infinity balls around ``inputs`` within [0, 1], nothing known yet."""
        unknown = inputs.new_full((len(inputs), graph.num_outputs - 1), torch.inf)
        return cls(graph, tensors, inputs, labels, indices, Box.around(inputs, epsilon), -unknown, unknown)

    def select(self, rows: list[int]) -> Self:
        """The problem of some of the samples."""
        return self._replace(
            inputs=self.inputs[rows],
            labels=self.labels[rows],
            indices=self.indices[rows],
            box=Box(self.box.lower[rows], self.box.upper[rows]),
            lower=self.lower[rows],
            upper=self.upper[rows],
        )

    def update(self, rows: list[int], some: Self) -> Self:
        """The problem with the bounds of some of its samples."""
        lower, upper = self.lower.clone(), self.upper.clone()
        lower[rows], upper[rows] = some.lower, some.upper
        return self._replace(lower=lower, upper=upper)

    def improve(self, evidence: "Evidence") -> Self:
        """The problem with the better ones of its own bounds and those that the evidence gives."""
        lower, upper = self.lower, self.upper
        if evidence.lower is not None:
            lower = torch.maximum(lower, evidence.lower)
        if evidence.points is not None:
            values = values_from_above(self.graph, self.tensors, evidence.points, self.specification())
            upper = torch.where(self.contains(evidence.points)[:, None], torch.fmin(upper, values), upper)
        return self._replace(lower=lower, upper=upper)

    def contains(self, points: Tensor) -> Tensor:
        """Whether each of these points ``[B, *input]`` lies in its box, ``[B]``."""
        return ((self.box.lower <= points) & (points <= self.box.upper)).flatten(1).all(1)

    def contradictions(self) -> Tensor:
        """Whether a bound lies above a value that it should bound, by more than rounding, ``[B]``."""
        tolerance = 1e-9 * (1 + self.upper.abs())
        return (self.lower.isfinite() & (self.lower > self.upper + tolerance)).any(1)

    def specification(self) -> Tensor:
        """The differences that must be positive, ``[B, K - 1, K]``."""
        return margin_specification(self.labels, self.graph.num_outputs, self.inputs.dtype)


class Evidence(NamedTuple):
    """What a stage found out about some of the samples; the certifier draws the conclusions.

    Attributes:
        lower: Proven lower bounds of the differences of ``Problem.lower``, ``[N, K - 1]``.
        points: Candidates for counterexamples, ``[N, *input]``; the certifier checks them.
        rows: Which samples of the problem it is about; None for all, in order.
        seconds: Time spent on each of them, if the stage accounts for it.
        subdomains: How many parts of each box were examined.
        errors: What went wrong for each of them, if anything.
    """

    lower: Tensor | None = None
    points: Tensor | None = None
    rows: list[int] | None = None
    seconds: list[float] | None = None
    subdomains: list[int] | None = None
    errors: list[str | None] | None = None


class Stage(ABC):
    """One step of certification, for example an attack, a relaxation or a complete verifier.

    Attributes:
        name: The name in records.
    """

    name: str

    def check(self, graph: Graph) -> None:  # noqa: B027  (most stages take any network)
        """Refuses a network that the stage cannot take.

        Raises:
            ConfigurationError: It is one.
        """

    @abstractmethod
    def __call__(self, problem: Problem) -> Iterator[Evidence]:
        """Gathers evidence about every sample of the problem once, all together or in parts as they are done."""


class NaturalStage(Stage):
    """The samples themselves; one that is misclassified is its own counterexample."""

    name = "natural"

    def __call__(self, problem: Problem) -> Iterator[Evidence]:
        """See :meth:`Stage.__call__`."""
        yield Evidence(points=problem.inputs)


class AttackStage(Stage):
    """Looks for counterexamples.

    Args:
        attack: The attack.
        seed: Seed of its starts, which depend on it and on each sample's index.
    """

    def __init__(self, attack: Attack, seed: int = 0) -> None:
        self.name = type(attack).__name__
        self.attack = attack
        self.seed = seed

    def __call__(self, problem: Problem) -> Iterator[Evidence]:
        """See :meth:`Stage.__call__`."""
        inputs = problem.inputs
        starts = self.attack.draw_starts(inputs.shape[1:], problem.indices, self.seed, device=inputs.device)
        logits = partial(problem.graph, problem.tensors)
        yield Evidence(points=self.attack(logits, *problem.box, problem.labels, starts))


class RelaxationStage(Stage):
    """Bounds the margins with a relaxation.

    Args:
        relaxation: The relaxation.

    Raises:
        ConfigurationError: If the relaxation is not sound.
    """

    def __init__(self, relaxation: Relaxation) -> None:
        self.name = type(relaxation).__name__
        if not relaxation.sound:
            raise ConfigurationError(f"relaxations contains {self.name}, which is not sound; it can certify nothing")
        self.relaxation = relaxation

    def __call__(self, problem: Problem) -> Iterator[Evidence]:
        """See :meth:`Stage.__call__`."""
        lower = self.relaxation(problem.graph, problem.tensors, problem.box, problem.specification())
        if not self.relaxation.needs_graph:  # what its own rounding amounts to is not known
            lower = lower - _ALLOWANCE * (1 + lower.abs())
        yield Evidence(lower=lower)


_ALLOWANCE = 1e-9
"""Margin that bounds of other libraries must exceed, for their rounding errors."""


class BranchAndBoundStage(Stage):
    """Decides completely what time allows: the margins that are not proven yet, the hardest ones first.

    Args:
        branch_and_bound: The search.
    """

    name = "BranchAndBound"

    def __init__(self, branch_and_bound: BranchAndBound) -> None:
        self.branch_and_bound = branch_and_bound

    def check(self, graph: Graph) -> None:
        """See :meth:`Stage.check`."""
        self.branch_and_bound.check(graph)

    def __call__(self, problem: Problem) -> Iterator[Evidence]:
        """See :meth:`Stage.__call__`."""
        open_margins = [_from_hardest(lower) for lower in problem.lower]
        rows = problem.specification()
        questions = [
            Question(Box(*(side[[i]] for side in problem.box)), rows[i, margins, None], rows.new_zeros(len(margins), 1))
            for i, margins in enumerate(open_margins)
        ]
        for answer in self.branch_and_bound.search(problem.graph, problem.tensors, questions):
            lower = torch.full_like(problem.lower[[answer.number]], -torch.inf)
            lower[0, open_margins[answer.number]] = answer.lower
            yield Evidence(lower, answer.point, [answer.number], [answer.seconds], [answer.subdomains], [answer.error])


def _from_hardest(lower: Tensor) -> Tensor:
    """Positions of the bounds ``[K - 1]`` that are not above 0, from the lowest on."""
    order = lower.argsort()
    return order[~(lower[order] > 0)]
