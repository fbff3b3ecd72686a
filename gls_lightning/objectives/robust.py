"""The common part of all objectives for robustness."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from gls_lightning.arguments import require
from gls_lightning.attacks import Attack
from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.objectives.losses import fraction
from gls_lightning.objectives.objective import Batch, Objective
from gls_lightning.relaxations import Relaxation


class RobustObjective(Objective):
    """A robust loss mixed with the cross-entropy on the clean samples; a subclass gives the robust loss.

    Args:
        natural_weight: Weight w of the cross-entropy on the clean samples; the loss is (1 - w) robust + w natural.

    Raises:
        ConfigurationError: If ``natural_weight`` is not in [0, 1].
    """

    def __init__(self, *, natural_weight: float = 0.0) -> None:
        require(0 <= natural_weight <= 1, "natural_weight", natural_weight, "between 0 and 1")
        self.natural_weight = natural_weight

    @override
    def __call__(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`Objective.__call__`."""
        logits = batch.logits(graph, tensors)
        correct = logits.argmax(1) == batch.labels
        loss, metrics = self._robust_loss(graph, relaxation, tensors, batch, correct)
        if self.natural_weight:
            loss = torch.lerp(loss, F.cross_entropy(logits, batch.labels), self.natural_weight)
        return loss, {"natural_accuracy": fraction(correct, logits), **metrics}

    @abstractmethod
    def _robust_loss(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch, correct: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the robust loss and its metrics; ``correct [B]`` says which clean samples are right."""


def adversarial_points(attack: Attack, graph: Graph, tensors: Tensors, box: Box, batch: Batch) -> Tensor:
    """Attacks the network in the box, from the first of ``batch.starts``; points ``[B, *input]`` without gradient."""
    assert batch.starts, "the attack needs starts; see Objective.draw_starts"
    return attack(lambda x: graph(tensors, x), *box, batch.labels, batch.starts[0]).detach()
