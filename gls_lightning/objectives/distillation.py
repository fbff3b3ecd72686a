"""The common part of all distillation."""

from abc import abstractmethod
from math import inf

import torch
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.arguments import component, require
from gls_lightning.attacks import Attack
from gls_lightning.bounds import Graph, Tensors
from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives._teacher import Teacher
from gls_lightning.objectives.certified import Certified
from gls_lightning.objectives.objective import Batch, Objective
from gls_lightning.relaxations import Relaxation


class Distillation(Objective):
    """Any objective plus the distance of the network, the student, from a frozen teacher.

    The teacher, typically trained against attacks, is asked about the clean images once a step, in evaluation mode. It
    is no part of what is trained, bounded or saved. Training logs the distance times its weight as ``distillation``.

    Args:
        objective: What the distance is added to. By default Certified.
        teacher: A network for the same images and classes; it may be of another architecture.
        teacher_weights: Its weights: the checkpoint of a run, of which only the network is taken, or a ``.safetensors``
            file. Read when a fit starts, also when it is resumed. None, for use in Python, keeps those of ``teacher``.
        weight: Factor of the distance.
        attack: Finds the points at which the student is compared, by the cross-entropy of its own logits; None where
            the distance needs no such points.
        classifier_relus: Number of ReLUs behind the features that are compared; None for logits.

    Raises:
        ConfigurationError: ``weight`` is negative or not finite, or a component is none; before training starts: the
            weights cannot be read or are of another network, or the teacher's answer has another shape.
    """

    def __init__(
        self,
        *,
        objective: Objective | None,
        teacher: nn.Module,
        teacher_weights: str | None,
        weight: float,
        attack: Attack | None,
        classifier_relus: int | None = None,
    ) -> None:
        if component("teacher", teacher, nn.Module) is None:
            raise ConfigurationError("teacher is None; it must be an object of a class derived from torch.nn.Module")
        require(0 <= weight < inf, "weight", weight, "a finite number of at least 0")
        self.objective = component("objective", objective, Objective) or Certified()
        self.weight = weight
        self.attack = attack
        self.uses_relaxation = self.objective.uses_relaxation
        self.uses_batch_statistics = self.objective.uses_batch_statistics
        self._teacher = Teacher(teacher, teacher_weights, classifier_relus)

    @abstractmethod
    def distance(self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch, target: Tensor) -> Tensor:
        """Computes the distance of the student from the teacher for each sample.

        Args:
            graph: The student.
            relaxation: Bounds it.
            tensors: Its parameters and buffers.
            batch: The samples, with the starts of ``attack`` alone.
            target: The teacher's answer, ``[B, *shape]``.

        Returns:
            The distances, ``[B]``.
        """

    @abstractmethod
    def answer_shape(self, graph: Graph) -> torch.Size:
        """Returns the shape that the teacher's answer must have for one image."""

    @override
    def check(self, graph: Graph) -> None:
        self.objective.check(graph)
        own, found = self.answer_shape(graph), self._teacher.prepare(graph.input_shape)
        if own != found:
            raise ConfigurationError(
                f"the teacher answers with a tensor of shape {tuple(found)}, but the network that is trained with one "
                f"of shape {tuple(own)}"
            )

    @override
    def points_per_sample(self, graph: Graph) -> int:
        return self.objective.points_per_sample(graph)

    @override
    def draw_starts(
        self, graph: Graph, indices: Tensor, *key: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        """Draws the starts of the objective's attacks, and then of this one's."""
        # The last number keeps the starts unrelated to those of the objective.
        return (
            *self.objective.draw_starts(graph, indices, *key, device=device),
            *super().draw_starts(graph, indices, *key, 2, device=device),
        )

    @override
    def targets(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Asks the teachers of the objective, and then this one's."""
        return *self.objective.targets(inputs), self._teacher(inputs)

    @override
    def __call__(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`Objective.__call__`."""
        assert batch.targets, "the teacher must be asked; see Objective.targets"
        inner, target = batch.targets[:-1], batch.targets[-1]
        starts = len(batch.starts) - (self.attack is not None)
        loss, metrics = self.objective(
            graph, relaxation, tensors, batch._replace(starts=batch.starts[:starts], targets=inner)
        )
        own = batch._replace(starts=batch.starts[starts:])
        term = self.weight * self.distance(graph, relaxation, tensors, own, target).mean()
        return loss + term, {**metrics, "distillation": metrics.get("distillation", 0) + term.detach()}
