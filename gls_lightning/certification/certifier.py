"""The cascade of stages that decides samples, from a cheap attack to tight bounds."""

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gls_lightning.arguments import Radius, component, components, read_radius, require
from gls_lightning.attacks import PGD, Attack
from gls_lightning.batches import read_batch, require_values
from gls_lightning.bounds import Graph, Tensors
from gls_lightning.certification._judgement import Conclusion, judge
from gls_lightning.certification.branch_and_bound import BranchAndBound
from gls_lightning.certification.precision import in_float64, without_tf32
from gls_lightning.certification.record import Record, Verdict, describe_errors, errors_of
from gls_lightning.certification.stages import (
    AttackStage,
    BranchAndBoundStage,
    Evidence,
    NaturalStage,
    Problem,
    RelaxationStage,
    Stage,
)
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations import CROWNIBP, IBP, DeepPoly, Relaxation


class Certifier:
    """A cascade that decides for each sample whether its whole l-infinity ball in [0, 1] is classified correctly.

    First come the samples themselves, then the attack, the relaxations, and branch and bound. Each stage gets only the
    samples that are still undecided. A sample with a counterexample, such as a misclassified one, is falsified and goes
    no further. A sample is certified once each of its margins has a positive lower bound; the bounds may come from
    different stages. All computations are in float64.

    Args:
        relaxations: Relaxations in the order of their cost. By default IBP, CROWN-IBP, and DeepPoly for the ReLUs that
            IBP leaves unstable.
        attack: Attack that runs before them. By default PGD with 40 steps, 5 restarts and the margin loss.
        use_attack: Whether the attack runs. Without it (and without branch and bound) no sample is falsified.
        branch_and_bound: Complete search for the samples that are still undecided then. By default none.
        batch_size: Number of samples that are processed together.
        seed: Seed of the attack's starts.

    Raises:
        ConfigurationError: If a relaxation is not sound, or ``batch_size`` is below 1.

    Example:
        >>> from gls_lightning.bounds import trace
        >>> graph, tensors = trace(torch.nn.Linear(2, 2, bias=False), (2,)), {"weight": torch.eye(2)}
        >>> images, labels = torch.tensor([[0.9, 0.1], [0.5, 0.4], [0.1, 0.9]]), torch.tensor([0, 0, 0])
        >>> records = Certifier().certify(graph, tensors, images, labels, indices=torch.arange(3), epsilon=0.1)
        >>> [(record.verdict.value, record.stage) for record in records]
        [('certified', 'IBP'), ('falsified', 'PGD'), ('misclassified', 'natural')]
    """

    def __init__(
        self,
        *,
        relaxations: Sequence[Relaxation] | None = None,
        attack: Attack | None = None,
        use_attack: bool = True,
        branch_and_bound: BranchAndBound | None = None,
        batch_size: int = 100,
        seed: int = 0,
    ) -> None:
        require(batch_size >= 1, "batch_size", batch_size, "at least 1")
        if relaxations is None:
            relaxations = IBP(), CROWNIBP(), DeepPoly(skip_ibp_stable=True)
        relaxations = components("relaxations", relaxations, Relaxation)
        component("branch_and_bound", branch_and_bound, BranchAndBound)
        self.batch_size = batch_size
        self.stages: list[Stage] = [NaturalStage()]
        if use_attack:
            self.stages.append(
                AttackStage(component("attack", attack, Attack) or PGD(steps=40, restarts=5, loss="margin"), seed)
            )
        self.stages.extend(RelaxationStage(relaxation) for relaxation in relaxations)
        if branch_and_bound is not None:
            self.stages.append(BranchAndBoundStage(branch_and_bound))

    def certify(
        self, graph: Graph, tensors: Tensors, inputs: Tensor, labels: Tensor, indices: Tensor, epsilon: Radius
    ) -> list[Record]:
        """Decides samples.

        Args:
            graph: The network.
            tensors: Its parameters and buffers, on the same device as the samples.
            inputs: The samples in [0, 1], ``[N, *input]``.
            labels: Their classes, ``[N]``, int64.
            indices: Their indices in the data set, ``[N]``, all different; the attack's starts depend on them.
            epsilon: Radius.

        Returns:
            One record per sample, in the given order.

        Raises:
            ConfigurationError: If ``epsilon`` is no radius between 0 and 1, samples, labels or indices are something
                else, or a stage does not take the network.

        Warns:
            UserWarning: If the certification of a sample failed.
        """
        if len(indices.unique()) < len(indices):
            raise ConfigurationError("indices repeat; each sample has one of its own in the data set")
        records = {record.index: record for record in self.decide(graph, tensors, inputs, labels, indices, epsilon)}
        if errors := errors_of(records.values()):
            warnings.warn(describe_errors(errors), stacklevel=2)
        return [records[index] for index in indices.tolist()]

    @torch.no_grad()
    def decide(
        self, graph: Graph, tensors: Tensors, inputs: Tensor, labels: Tensor, indices: Tensor, epsilon: Radius
    ) -> Iterator[Record]:
        """Yields the records of :meth:`certify`, each as soon as its sample is decided."""
        for stage in self.stages:
            stage.check(graph)
        epsilon = read_radius(epsilon)
        if not len(inputs):
            return
        inputs, labels, _ = samples = read_batch((inputs, labels, indices), "certification", graph.input_shape)
        require_values(samples, "certification", graph.num_outputs)
        graph = graph.rigorously()
        tensors = in_float64(tensors)
        with without_tf32():
            batches = (torch.split(t, self.batch_size) for t in (inputs.double(), labels, indices))
            for x, y, index in zip(*batches, strict=True):
                yield from self._decide_batch(Problem.around(graph, tensors, x, y, index, epsilon))

    def _decide_batch(self, problem: Problem) -> Iterator[Record]:
        records = _undecided(problem)
        for stage in self.stages:
            if not records:
                return
            unknown: list[int] = []
            for evidence, seconds in _timed(stage, problem):
                rows = range(len(records)) if evidence.rows is None else evidence.rows
                some = problem.select(list(rows)).improve(evidence)
                problem = problem.update(list(rows), some)
                conclusions = judge(some, evidence.points, stage.name, evidence.errors)
                for number, (row, conclusion) in enumerate(zip(rows, conclusions, strict=True)):
                    subdomains = evidence.subdomains[number] if evidence.subdomains else 0
                    records[row] = _conclude(records[row], conclusion, stage.name, seconds[number], subdomains)
                    if conclusion.verdict is Verdict.UNKNOWN:
                        unknown.append(row)
                    else:
                        yield records[row]
            problem, records = problem.select(unknown), [records[row] for row in unknown]
        yield from records


def _timed(stage: Stage, problem: Problem) -> Iterator[tuple[Evidence, list[float]]]:
    """Yields the stage's evidence, and the seconds that it spent on each sample."""
    started = time.perf_counter()
    for evidence in stage(problem):
        samples = len(problem.labels) if evidence.rows is None else len(evidence.rows)
        yield evidence, evidence.seconds or [(time.perf_counter() - started) / samples] * samples
        started = time.perf_counter()


def _undecided(problem: Problem) -> list[Record]:
    logits = problem.graph(problem.tensors, problem.inputs)
    rows = zip(
        problem.indices.tolist(),
        problem.labels.tolist(),
        logits.argmax(1).tolist(),
        logits.isnan().any(1).tolist(),
        strict=True,
    )
    return [
        Record(index, label, None if broken else prediction, Verdict.UNKNOWN, None, None, 0.0)
        for index, label, prediction, broken in rows
    ]


def _conclude(record: Record, conclusion: Conclusion, stage: str, seconds: float, subdomains: int) -> Record:
    verdict, margin, counterexample, reason = conclusion
    if record.prediction != record.label:
        if verdict is Verdict.FALSIFIED:
            verdict, counterexample = Verdict.MISCLASSIFIED, None
        elif verdict is Verdict.CERTIFIED:
            verdict, margin, reason = Verdict.ERROR, None, f"{stage} proved what the sample itself refutes"
    return replace(
        record,
        verdict=verdict,
        stage=None if verdict is Verdict.UNKNOWN else stage,
        margin=margin,
        seconds=record.seconds + seconds,
        subdomains=record.subdomains + subdomains,
        counterexample=counterexample,
        reason=reason,
    )
