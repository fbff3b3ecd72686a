"""The stages of certification: each gathers evidence, none gives a verdict."""

from abc import ABC, abstractmethod
from functools import partial
from typing import NamedTuple, Self

import torch
from torch import Tensor

from gls_lightning.attacks import Attack
from gls_lightning.bounds import Box, Graph, Tensors, margin_specification
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
    """

    graph: Graph
    tensors: Tensors
    inputs: Tensor
    labels: Tensor
    indices: Tensor
    box: Box
    lower: Tensor

    @classmethod
    def around(
        cls, graph: Graph, tensors: Tensors, inputs: Tensor, labels: Tensor, indices: Tensor, epsilon: float
    ) -> Self:
        """The problem of certifying the l-infinity balls around ``inputs`` within [0, 1], nothing known yet."""
        unknown = inputs.new_full((len(inputs), graph.num_outputs - 1), -torch.inf)
        return cls(graph, tensors, inputs, labels, indices, Box.around(inputs, epsilon), unknown)

    def select(self, rows: Tensor) -> Self:
        """The problem of some of the samples."""
        return self._replace(
            inputs=self.inputs[rows],
            labels=self.labels[rows],
            indices=self.indices[rows],
            box=Box(self.box.lower[rows], self.box.upper[rows]),
            lower=self.lower[rows],
        )

    def improve(self, lower: Tensor | None) -> Self:
        """The problem with the larger of its own and these lower bounds."""
        return self if lower is None else self._replace(lower=torch.maximum(self.lower, lower))

    def specification(self) -> Tensor:
        """The differences that must be positive, ``[B, K - 1, K]``."""
        return margin_specification(self.labels, self.graph.num_outputs, self.inputs.dtype)


class Evidence(NamedTuple):
    """What a stage found out; the certifier draws the conclusions.

    Attributes:
        lower: Proven lower bounds of the differences of ``Problem.lower``, ``[B, K - 1]``.
        points: Candidates for counterexamples, ``[B, *input]``; the certifier checks them.
    """

    lower: Tensor | None = None
    points: Tensor | None = None


class Stage(ABC):
    """One step of certification, for example an attack, a relaxation or a complete verifier.

    Attributes:
        name: The name in records.
    """

    name: str

    @abstractmethod
    def __call__(self, problem: Problem) -> Evidence:
        """Gathers evidence about every sample of the problem."""


class NaturalStage(Stage):
    """The samples themselves; one that is misclassified is its own counterexample."""

    name = "natural"

    def __call__(self, problem: Problem) -> Evidence:
        """See :meth:`Stage.__call__`."""
        return Evidence(points=problem.inputs)


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

    def __call__(self, problem: Problem) -> Evidence:
        """See :meth:`Stage.__call__`."""
        inputs = problem.inputs
        starts = self.attack.draw_starts(inputs.shape[1:], problem.indices, self.seed, device=inputs.device)
        logits = partial(problem.graph, problem.tensors)
        return Evidence(points=self.attack(logits, *problem.box, problem.labels, starts))


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

    def __call__(self, problem: Problem) -> Evidence:
        """See :meth:`Stage.__call__`."""
        return Evidence(lower=self.relaxation(problem.graph, problem.tensors, problem.box, problem.specification()))
