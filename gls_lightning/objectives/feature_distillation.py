"""Distillation of features."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.arguments import component, require
from gls_lightning.attacks import PGD, Attack
from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.objectives._cut import cut_behind_relu
from gls_lightning.objectives.distillation import Distillation
from gls_lightning.objectives.objective import Batch, Objective
from gls_lightning.objectives.robust import adversarial_points
from gls_lightning.relaxations import Relaxation


class FeatureDistillation(Distillation):
    """Any objective plus the distance of the student's hidden features from those of a teacher.

    It follows CC-Dist (De Palma, 2026, "Learning Better Certified Models from Empirically-Robust Teachers", arXiv
    2602.02626), which draws both adversarial features and bounds of the features towards the teacher's. With the
    teacher's features ``t`` at the clean image, the student's ``h`` at an adversarial point and the relaxation's bounds
    ``[l, u]`` of them in the box, let ``l' = (1 - alpha) h + alpha l`` and ``u' = (1 - alpha) h + alpha u``, as
    ``CCIBP`` mixes margins. The distance is the mean over the features of ``max((l' - t)^2, (u' - t)^2)``: the largest
    mean square between ``t`` and a point of ``[l', u']``. The points are held fixed when the loss is differentiated.

    Args:
        teacher: A network for the same images; it may be of another architecture with as many features.
        teacher_weights: Its weights: the checkpoint of a run, of which only the network is taken, or a ``.safetensors``
            file. Read when a fit starts, also when it is resumed. None, for use in Python, keeps those of ``teacher``.
        alpha: Share of the bounds: 0 compares at adversarial points alone, 1 bounds alone, without an attack.
        objective: What the distance is added to. By default Certified; ``CCIBP`` in the paper.
        weight: Factor of the distance.
        classifier_relus: Number of ReLUs (or other activations) behind the features, in both networks: 0 for the last
            hidden layer.
        attack: Finds the points. By default PGD of 10 steps and 3 restarts.

    Raises:
        ConfigurationError: An argument is out of its range; before training starts: the weights cannot be read or are
            of another network, the teacher's operations are not known, or its features have another shape.

    Example:
        >>> from gls_lightning.bounds import trace
        >>> from gls_lightning.relaxations import IBP
        >>> network, images = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)), torch.eye(3)
        >>> objective = FeatureDistillation(teacher=network, teacher_weights=None, alpha=1)
        >>> batch = Batch(images, torch.arange(3), torch.tensor(0.0), targets=objective.targets(images))
        >>> loss, metrics = objective(trace(network, (3,)), IBP(), network.state_dict(), batch)
        >>> round(metrics["distillation"].item(), 6)  # at radius 0 the bounds are the features
        0.0
    """

    def __init__(
        self,
        *,
        teacher: nn.Module,
        teacher_weights: str | None,
        alpha: float,
        objective: Objective | None = None,
        weight: float = 1.0,
        classifier_relus: int = 0,
        attack: Attack | None = None,
    ) -> None:
        require(0 <= alpha <= 1, "alpha", alpha, "between 0 (adversarial points) and 1 (bounds)")
        require(classifier_relus >= 0, "classifier_relus", classifier_relus, "at least 0")
        own = component("attack", attack, Attack) or PGD(steps=10, restarts=3)
        super().__init__(
            objective=objective,
            teacher=teacher,
            teacher_weights=teacher_weights,
            weight=weight,
            attack=own if alpha < 1 else None,
            classifier_relus=classifier_relus,
        )
        self.alpha = alpha
        self.classifier_relus = classifier_relus
        self.uses_relaxation |= alpha > 0

    @override
    def answer_shape(self, graph: Graph) -> torch.Size:
        _, classifier = cut_behind_relu(graph, self.classifier_relus)
        return torch.Size(classifier.input_shape)

    @override
    def distance(self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch, target: Tensor) -> Tensor:
        lower, upper = self._features(graph, relaxation, tensors, batch)
        return torch.maximum((lower - target).square(), (upper - target).square()).flatten(1).mean(1)

    def _features(self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch) -> Box:
        """Returns the mixed bounds, each side ``[B, *features]``."""
        first, _ = cut_behind_relu(graph, self.classifier_relus)
        box = Box.around(batch.inputs, batch.epsilon)
        if self.attack is None:
            return relaxation.activation_bounds(first, tensors, box)
        points = first(tensors, adversarial_points(self.attack, graph, tensors, box, batch))
        if self.alpha == 0:
            return Box(points, points)
        bounds = relaxation.activation_bounds(first, tensors, box)
        return Box(torch.lerp(points, bounds.lower, self.alpha), torch.lerp(points, bounds.upper, self.alpha))
