"""The decision whether a property of an ONNX network holds."""

import time
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gls_lightning.arguments import require
from gls_lightning.attacks import PGD
from gls_lightning.bounds import Box, Rationals, rounded_down, rounded_up
from gls_lightning.certification import exact_values, highest_values
from gls_lightning.certification.branch_and_bound import BranchAndBound, Question, largest_functions, minimise
from gls_lightning.errors import ConfigurationError, ContradictionError
from gls_lightning.interchange.counterexample import decimal, format_counterexample
from gls_lightning.interchange.onnx_graph import compare, read_graph
from gls_lightning.interchange.onnx_network import OnnxNetwork
from gls_lightning.interchange.vnnlib_property import Region, VnnlibProperty
from gls_lightning.randomness import keyed_generator

Array = NDArray[np.floating]


class Answer(StrEnum):
    """An answer in the terms of VNN-COMP; of several boxes' answers the last in this order counts.

    Attributes:
        UNSAT: No input of the box has the outputs that the property describes.
        TIMEOUT: The time was too short.
        UNKNOWN: There is no answer for another reason, such as a counterexample that fails by rounding.
        SAT: Some input has such outputs.
    """

    UNSAT = "unsat"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"
    SAT = "sat"


@dataclass(frozen=True)
class Verification:
    """The answer, with a counterexample; as text, the output of VNN-COMP's tools.

    Attributes:
        verdict: The answer.
        counterexample: For ``SAT``, the input and the output in VNN-COMP's form.
    """

    verdict: Answer
    counterexample: str | None = None

    def __str__(self) -> str:
        """Writes the answer, and the counterexample below it."""
        return "\n".join(filter(None, (self.verdict, self.counterexample)))


class Verifier:
    """A verifier that looks for counterexamples by an attack, then decides by branch and bound.

    ``UNSAT`` is proved for the network over the reals; the bounds account for their own rounding errors. A
    counterexample must lie in the box as it is printed, and satisfy the property without any tolerance, both over the
    reals and as computed by onnxruntime in the network's precision.

    Args:
        network: The network.
        time_limit: Seconds.

    Raises:
        ConfigurationError: ``time_limit`` is not positive, or the network has an operation that is not supported.
    """

    def __init__(self, network: OnnxNetwork, *, time_limit: float = 100.0) -> None:
        self._deadline = time.monotonic() + time_limit
        require(time_limit > 0, "time_limit", time_limit, "positive")
        self.network = network
        graph, self.tensors = read_graph(network)
        self.graph = graph.rigorously()

    @torch.no_grad()
    def verify(self, prop: VnnlibProperty) -> Verification:
        """Decides whether some input has the outputs that the property describes.

        Raises:
            ConfigurationError: The property is about another number of inputs or outputs.
            ContradictionError: A bound lies above a value that it should bound.
        """
        self._check(prop)
        shape = 1, *self.graph.input_shape
        regions = [
            replace(r, question=replace(r.question, box=Box(*(side.reshape(shape) for side in r.question.box))))
            for r in prop.regions
        ]
        for region in regions:
            self._compare(region.question)
            if time.monotonic() < self._deadline and (found := self._confirmed(region, self._attack(region.question))):
                return found
        verdicts = [Answer.UNSAT]
        for region in regions:
            conclusion = self._search(region)
            if conclusion.verdict is Answer.SAT:
                return conclusion
            verdicts.append(conclusion.verdict)
        return Verification(max(verdicts, key=list(Answer).index))

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
        """Searches for each group a point where its largest function is small, ``[Q, *input]``."""

        def largest(points: Tensor) -> Tensor:
            return largest_functions(question.rows, question.offsets, self.graph(self.tensors, points))

        groups, attack = len(question.rows), PGD(steps=40, restarts=5, loss="margin")
        box = Box(*(side.expand(groups, *side.shape[1:]) for side in question.box))
        return minimise(largest, box, attack.draw_starts(self.graph.input_shape, torch.arange(groups)), attack)

    def _search(self, region: Region) -> Verification:
        if (left := self._deadline - time.monotonic()) <= 0:
            return Verification(Answer.TIMEOUT)
        (answer,) = BranchAndBound(time_limit=left).search(self.graph, self.tensors, [region.question])
        if answer.error is not None:
            raise ContradictionError(answer.error)
        if answer.point is not None:
            return self._confirmed(region, answer.point) or Verification(Answer.UNKNOWN)
        if answer.decided:
            return Verification(Answer.UNSAT)
        return Verification(Answer.TIMEOUT if answer.seconds >= left else Answer.UNKNOWN)

    def _confirmed(self, region: Region, points: Tensor) -> Verification | None:
        """Returns the first point of ``[N, *input]`` that is a counterexample for onnxruntime and over the reals."""
        lower, upper = (np.reshape([*map(float, side)], points.shape[1:]) for side in region.limits)
        inputs = _rounded(points.numpy(), lower, upper, self.network.precision)
        for point, outputs in zip(inputs, self.network(inputs), strict=True):
            printed = [Fraction(decimal(value)) for value in point.flatten()]
            reached = np.isfinite(outputs).all() and region.is_reached(printed, outputs.tolist())
            if reached and self._holds(region, printed):
                return Verification(Answer.SAT, format_counterexample(point.flatten(), outputs))
        return None

    def _holds(self, region: Region, printed: list[Fraction]) -> bool:
        """Says whether the printed numbers satisfy the property over the reals."""
        rows, offsets, shape = region.question.rows, region.offsets_above, self.graph.input_shape
        sides = ([*map(rounded, printed)] for rounded in (rounded_down, rounded_up))
        box = Box(*(rows.new_tensor(side).reshape(1, *shape).expand(len(rows), *shape) for side in sides))
        if (highest_values(self.graph, self.tensors, box, rows, offsets) <= 0).all(1).any():
            return True
        point, size = Rationals.of_fractions(printed, tuple(shape)), len(offsets[0])
        exact = exact_values(self.graph, self.tensors, point, rows.flatten(0, 1), offsets.flatten())
        return any(max(exact[start : start + size]) <= 0 for start in range(0, len(exact), size))


def _rounded(points: Array, lower: Array, upper: Array, precision: type[np.floating]) -> Array:
    """Rounds the points to the precision, inside the box; a number stays as it is if the box contains none."""
    rounded = points.astype(precision)
    rounded = np.where(rounded < lower, np.nextafter(rounded, precision(np.inf)), rounded)
    rounded = np.where(rounded > upper, np.nextafter(rounded, precision(-np.inf)), rounded)
    return np.where((lower <= rounded) & (rounded <= upper), rounded, points)
