"""Distillation of logits."""

from math import inf
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.arguments import component, require
from gls_lightning.attacks import PGD, Attack
from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.objectives.distillation import Distillation
from gls_lightning.objectives.objective import Batch, Objective
from gls_lightning.objectives.robust import adversarial_points
from gls_lightning.relaxations import Relaxation

Points = Literal["attacked", "clean"]
"""The points at which the student is compared with the teacher."""


class LogitDistillation(Distillation):
    """Any objective plus the divergence of the student's classes from those of a teacher.

    The distance is that of adversarially robust distillation (ARD; Goldblum et al., 2020): t^2 times the
    Kullback-Leibler divergence ``sum_k p_k log(p_k / q_k)``, with ``p = softmax(teacher(x) / t)`` at the clean image
    ``x`` and ``q = softmax(student(x') / t)`` at the point ``x'`` that an attack finds in the box. ARD adds it to the
    cross-entropy; added to the default ``Certified`` it takes the part of the adversarial loss beside an upper bound,
    the idea of AD-CERT ("Improving Certified Robustness via Adversarial Distillation", 2026, arXiv 2606.31653). The
    points are held fixed when the loss is differentiated.

    Args:
        teacher: A network for the same images and classes; it may be of another architecture.
        teacher_weights: Its weights: the checkpoint of a run, of which only the network is taken, or a ``.safetensors``
            file. Read when a fit starts, also when it is resumed. None, for use in Python, keeps those of ``teacher``.
        objective: What the distance is added to. By default Certified.
        weight: Factor of the distance.
        temperature: t; above 1 the small probabilities count more.
        points: ``attacked``, or ``clean`` for the clean image, without an attack.
        attack: Finds the points. By default PGD of 10 steps and 3 restarts.

    Raises:
        ConfigurationError: An argument is out of its range; before training starts: the weights cannot be read or are
            of another network, or the teacher has another number of classes.

    Example:
        The student at the teacher's own weights: nothing is left to learn.

        >>> from gls_lightning.bounds import trace
        >>> from gls_lightning.objectives import Standard
        >>> from gls_lightning.relaxations import IBP
        >>> network = nn.Linear(3, 3)
        >>> objective = LogitDistillation(teacher=network, teacher_weights=None, objective=Standard(), points="clean")
        >>> batch = Batch(torch.eye(3), torch.arange(3), torch.tensor(0.1), targets=objective.targets(torch.eye(3)))
        >>> loss, metrics = objective(trace(network, (3,)), IBP(), network.state_dict(), batch)
        >>> metrics["distillation"].item()
        0.0
    """

    def __init__(
        self,
        *,
        teacher: nn.Module,
        teacher_weights: str | None,
        objective: Objective | None = None,
        weight: float = 1.0,
        temperature: float = 1.0,
        points: Points = "attacked",
        attack: Attack | None = None,
    ) -> None:
        require(0 < temperature < inf, "temperature", temperature, "positive and finite")
        require(points in get_args(Points), "points", points, f"one of {', '.join(get_args(Points))}")
        own = component("attack", attack, Attack) or PGD(steps=10, restarts=3)
        super().__init__(
            objective=objective,
            teacher=teacher,
            teacher_weights=teacher_weights,
            weight=weight,
            attack=own if points == "attacked" else None,
        )
        self.temperature = temperature

    @override
    def answer_shape(self, graph: Graph) -> torch.Size:
        return torch.Size([graph.num_outputs])

    @override
    def distance(self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch, target: Tensor) -> Tensor:
        if self.attack is None:
            logits = batch.logits(graph, tensors)
        else:
            box = Box.around(batch.inputs, batch.epsilon)
            logits = graph(tensors, adversarial_points(self.attack, graph, tensors, box, batch))
        student, teacher = (F.log_softmax(values / self.temperature, 1) for values in (logits, target))
        return self.temperature**2 * (teacher.exp() * (teacher - student)).sum(1)
