"""What the objectives share that aim at robustness."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from gls_lightning.attacks import Attack
from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives.losses import fraction
from gls_lightning.objectives.objective import Batch, Objective
from gls_lightning.relaxations import Relaxation


class RobustObjective(Objective):
    """A robust loss, mixed with the cross-entropy on the clean samples.

    Args:
        natural_weight: Weight w of the cross-entropy on the clean samples; the loss is (1 - w) robust + w natural.

    Raises:
        ConfigurationError: If ``natural_weight`` is not in [0, 1].
    """

    def __init__(self, *, natural_weight: float = 0.0) -> None:
        if not 0 <= natural_weight <= 1:
            raise ConfigurationError(f"natural_weight is {natural_weight}; it must lie between 0 and 1")
        self.natural_weight = natural_weight

    @override
    def __call__(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`Objective.__call__`."""
        logits = graph(tensors, batch.inputs)
        correct = logits.argmax(1) == batch.labels
        loss, metrics = self._robust_loss(graph, relaxation, tensors, batch, correct)
        if self.natural_weight:
            loss = torch.lerp(loss, F.cross_entropy(logits, batch.labels), self.natural_weight)
        return loss, {"natural_accuracy": fraction(correct, logits), **metrics}

    @abstractmethod
    def _robust_loss(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch, correct: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The robust loss and metrics, given which clean samples are classified correctly, ``[B]``."""


def adversarial_points(attack: Attack, graph: Graph, tensors: Tensors, box: Box, batch: Batch) -> Tensor:
    """What an attack from the first of ``batch.starts`` finds on the network with these tensors, ``[B, *input]``.

    The points are constants for autograd.
    """
    assert batch.starts, "the attack needs starts; see Objective.draw_starts"
    return attack(lambda x: graph(tensors, x), *box, batch.labels, batch.starts[0]).detach()
