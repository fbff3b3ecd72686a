"""The stages of certification, which gather evidence; the certifier gives the verdicts."""

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
        box: The inputs that must be classified correctly.
        lower: Best lower bounds so far of the margins, the label's logit minus each other one, ``[B, K - 1]``.
        upper: Upper bounds of the smallest margins over the box, from the points evaluated so far, ``[B, K - 1]``.
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
        """Makes the problem of certifying the l-infinity balls around ``inputs`` in [0, 1], with nothing known yet."""
        unknown = inputs.new_full((len(inputs), graph.num_outputs - 1), torch.inf)
        return cls(graph, tensors, inputs, labels, indices, Box.around(inputs, epsilon), -unknown, unknown)

    def select(self, rows: list[int]) -> Self:
        """Returns the problem of some of the samples."""
        return self._replace(
            inputs=self.inputs[rows],
            labels=self.labels[rows],
            indices=self.indices[rows],
            box=Box(self.box.lower[rows], self.box.upper[rows]),
            lower=self.lower[rows],
            upper=self.upper[rows],
        )

    def update(self, rows: list[int], some: Self) -> Self:
        """Returns the problem with new bounds of some of the samples."""
        lower, upper = self.lower.clone(), self.upper.clone()
        lower[rows], upper[rows] = some.lower, some.upper
        return self._replace(lower=lower, upper=upper)

    def improve(self, evidence: "Evidence") -> Self:
        """Returns the problem with the better of its own bounds and the evidence's."""
        lower, upper = self.lower, self.upper
        if evidence.lower is not None:
            lower = torch.maximum(lower, evidence.lower)
        if evidence.points is not None:
            values = values_from_above(self.graph, self.tensors, evidence.points, self.specification())
            upper = torch.where(self.contains(evidence.points)[:, None], torch.fmin(upper, values), upper)
        return self._replace(lower=lower, upper=upper)

    def contains(self, points: Tensor) -> Tensor:
        """Says for each point ``[B, *input]`` whether it lies in its box, ``[B]``."""
        return ((self.box.lower <= points) & (points <= self.box.upper)).flatten(1).all(1)

    def contradictions(self) -> Tensor:
        """Says for each sample whether a lower bound exceeds an upper one by more than rounding, ``[B]``."""
        tolerance = 1e-9 * (1 + self.upper.abs())
        return (self.lower.isfinite() & (self.lower > self.upper + tolerance)).any(1)

    def specification(self) -> Tensor:
        """Returns the margins, which must be positive, as functions of the logits, ``[B, K - 1, K]``."""
        return margin_specification(self.labels, self.graph.num_outputs, self.inputs.dtype)


class Evidence(NamedTuple):
    """A stage's results for some of the samples; the certifier draws the conclusions.

    Attributes:
        lower: Proven lower bounds of the margins, ``[N, K - 1]``.
        points: Candidates for counterexamples, ``[N, *input]``; the certifier checks them.
        rows: Positions of these samples in the problem; None for all, in order.
        seconds: Time spent on each sample, if the stage measures it.
        subdomains: Number of parts of each box that were examined.
        errors: The error for each sample, if any.
    """

    lower: Tensor | None = None
    points: Tensor | None = None
    rows: list[int] | None = None
    seconds: list[float] | None = None
    subdomains: list[int] | None = None
    errors: list[str | None] | None = None


class Stage(ABC):
    """A stage of certification, such as an attack, a relaxation or a complete verifier.

    Attributes:
        name: Name in records.
    """

    name: str

    def check(self, graph: Graph) -> None:  # noqa: B027  (most stages take any network)
        """Refuses a network that the stage cannot take.

        Raises:
            ConfigurationError: The stage cannot take the network.
        """

    @abstractmethod
    def __call__(self, problem: Problem) -> Iterator[Evidence]:
        """Gathers evidence about every sample of the problem once, all together or in parts as they are done."""


class NaturalStage(Stage):
    """The samples themselves; a misclassified sample is its own counterexample."""

    name = "natural"

    def __call__(self, problem: Problem) -> Iterator[Evidence]:
        """See :meth:`Stage.__call__`."""
        yield Evidence(points=problem.inputs)


class AttackStage(Stage):
    """A search for counterexamples by an attack.

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
    """Bounds of the margins by a relaxation.

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
        if not self.relaxation.needs_graph:  # the rounding error of its own bounds is not known
            lower = lower - _ALLOWANCE * (1 + lower.abs())
        yield Evidence(lower=lower)


_ALLOWANCE = 1e-9
"""Allowance for the rounding errors of other libraries' bounds, relative to the bound and to 1."""


class BranchAndBoundStage(Stage):
    """A complete search, within a time limit, for the margins that are not proven yet, the hardest first.

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
    """Returns the positions of the bounds ``[K - 1]`` that are not positive, from the lowest on."""
    order = lower.argsort()
    return order[~(lower[order] > 0)]
