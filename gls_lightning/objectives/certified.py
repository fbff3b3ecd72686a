"""Certified training with one relaxation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gls_lightning.bounds import Box, Graph, Tensors, margin_specification
from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives.losses import accuracy, certified_accuracy, robust_cross_entropy
from gls_lightning.objectives.objective import Batch, Objective
from gls_lightning.relaxations import Relaxation


class Certified(Objective):
    """Robust cross-entropy: an upper bound of the worst cross-entropy in the box (paper, section 2.2).

    Args:
        natural_weight: Weight w of the cross-entropy on the clean samples; the loss is (1 - w) robust + w natural.

    Raises:
        ConfigurationError: If ``natural_weight`` is not in [0, 1].
    """

    def __init__(self, *, natural_weight: float = 0.0) -> None:
        if not 0 <= natural_weight <= 1:
            raise ConfigurationError(f"natural_weight is {natural_weight}; it must lie between 0 and 1")
        self.natural_weight = natural_weight

    def __call__(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`Objective.__call__`."""
        logits = graph(tensors, batch.inputs)
        spec = margin_specification(batch.labels, graph.num_outputs, batch.inputs.dtype)
        lower = relaxation(graph, tensors, Box.around(batch.inputs, batch.epsilon), spec)
        loss = robust_cross_entropy(lower).mean()
        if self.natural_weight:
            loss = torch.lerp(loss, F.cross_entropy(logits, batch.labels), self.natural_weight)
        return loss, {
            "natural_accuracy": accuracy(logits, batch.labels),
            "certified_accuracy": certified_accuracy(logits, batch.labels, lower),
        }
