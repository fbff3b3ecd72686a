"""Whether a property of an ONNX network holds."""

import time
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gls_lightning.attacks import PGD
from gls_lightning.bounds import Box
from gls_lightning.certification.branch_and_bound import BranchAndBound, Question, largest_functions, minimise
from gls_lightning.errors import ConfigurationError, ContradictionError
from gls_lightning.interchange.counterexample import format_counterexample
from gls_lightning.interchange.onnx_graph import compare, read_graph
from gls_lightning.interchange.onnx_network import OnnxNetwork
from gls_lightning.interchange.vnnlib_property import VnnlibProperty
from gls_lightning.randomness import keyed_generator

Array = NDArray[np.floating]


class Verdict(StrEnum):
    """Results in the terms of VNN-COMP; of those of several boxes the last in this order counts.

    ``UNSAT``: the network cannot do what the property describes. ``TIMEOUT``: the time was too short. ``UNKNOWN``: not
    known for another reason, such as a counterexample that rounding undoes. ``SAT``: it can.
    """

    UNSAT = "unsat"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"
    SAT = "sat"


@dataclass(frozen=True)
class Verification:
    """The result; as text, what VNN-COMP's tools print.

    Attributes:
        verdict: The verdict.
        counterexample: For ``SAT``, the input and the output in VNN-COMP's form.
    """

    verdict: Verdict
    counterexample: str | None = None

    def __str__(self) -> str:
        """The verdict, and the counterexample below it."""
        return "\n".join(filter(None, (self.verdict, self.counterexample)))


class Verifier:
    """Looks for counterexamples by an attack, then decides by branch and bound.

    Bounds are those of the network over the reals, in float64. A counterexample counts only if the onnx package's own
    evaluator, in the network's precision, finds that it satisfies the property, and if the numbers as they are printed
    lie in the box: both without any tolerance.

    Args:
        network: The network.
        time_limit: Seconds.

    Raises:
        ConfigurationError: ``time_limit`` is not positive, or the network has an operation that is not supported.
    """

    def __init__(self, network: OnnxNetwork, *, time_limit: float = 100.0) -> None:
        self._deadline = time.monotonic() + time_limit
        if not time_limit > 0:
            raise ConfigurationError(f"time_limit is {time_limit}; it must be positive")
        self.network = network
        self.graph, self.tensors = read_graph(network)

    @torch.no_grad()
    def verify(self, prop: VnnlibProperty) -> Verification:
        """Decides whether the network can do what the property describes.

        Raises:
            ConfigurationError: The property is about another number of inputs or outputs.
            ContradictionError: A bound lies above a value that it should bound.
        """
        self._check(prop)
        shape = 1, *self.graph.input_shape
        questions = [replace(q, box=Box(*(side.reshape(shape) for side in q.box))) for q in prop.questions]
        for question in questions:
            self._compare(question)
            if time.monotonic() < self._deadline and (found := self._confirmed(question, self._attack(question))):
                return found
        verdicts = [Verdict.UNSAT]
        for question in questions:
            conclusion = self._search(question)
            if conclusion.verdict is Verdict.SAT:
                return conclusion
            verdicts.append(conclusion.verdict)
        return Verification(max(verdicts, key=list(Verdict).index))

    def _check(self, prop: VnnlibProperty) -> None:
        own = self.graph.input_shape.numel(), self.graph.num_outputs
        if own != (prop.num_inputs, prop.num_outputs):
            raise ConfigurationError(
                f"the property is about {prop.num_inputs} inputs and {prop.num_outputs} outputs, but "
                f"{self.network.path} has {own[0]} and {own[1]}"
            )

    def _compare(self, question: Question) -> None:
        size = 3, *self.graph.input_shape
        share = torch.rand(size, dtype=torch.float64, generator=keyed_generator("comparison with ONNX"))
        compare(self.graph, self.tensors, self.network, torch.lerp(*question.box, share))

    def _attack(self, question: Question) -> Tensor:
        """For each group a point where its largest function is small, ``[Q, *input]``."""

        def largest(points: Tensor) -> Tensor:
            return largest_functions(question.rows, question.offsets, self.graph(self.tensors, points))

        groups, attack = len(question.rows), PGD(steps=40, restarts=5, loss="margin")
        box = Box(*(side.expand(groups, *side.shape[1:]) for side in question.box))
        return minimise(largest, box, attack.draw_starts(self.graph.input_shape, torch.arange(groups)), attack)

    def _search(self, question: Question) -> Verification:
        if (left := self._deadline - time.monotonic()) <= 0:
            return Verification(Verdict.TIMEOUT)
        (answer,) = BranchAndBound(time_limit=left).search(self.graph, self.tensors, [question])
        if answer.error is not None:
            raise ContradictionError(answer.error)
        if answer.point is not None:
            return self._confirmed(question, answer.point) or Verification(Verdict.UNKNOWN)
        if answer.decided:
            return Verification(Verdict.UNSAT)
        return Verification(Verdict.TIMEOUT if answer.seconds >= left else Verdict.UNKNOWN)

    def _confirmed(self, question: Question, points: Tensor) -> Verification | None:
        """The first of the points ``[N, *input]`` that is a counterexample in the eyes of the onnx package."""
        lower, upper = (side.numpy() for side in question.box)
        inputs = _rounded(points.numpy(), lower, upper, self.network.precision)
        outputs = self.network(inputs)
        values = np.einsum("qmk,nk->nqm", question.rows.numpy(), outputs) + question.offsets.numpy()
        inside = ((lower <= inputs) & (inputs <= upper)).reshape(len(inputs), -1).all(1)
        for row in np.flatnonzero(inside & (values <= 0).all(2).any(1)):
            return Verification(Verdict.SAT, format_counterexample(inputs[row].flatten(), outputs[row]))
        return None


def _rounded(points: Array, lower: Array, upper: Array, precision: type[np.floating]) -> Array:
    """Numbers of the precision near the points and in the box; where it holds none, the points themselves."""
    rounded = points.astype(precision)
    rounded = np.where(rounded < lower, np.nextafter(rounded, precision(np.inf)), rounded)
    rounded = np.where(rounded > upper, np.nextafter(rounded, precision(-np.inf)), rounded)
    return np.where((lower <= rounded) & (rounded <= upper), rounded, points)
