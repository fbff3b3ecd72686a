"""Certified training with one relaxation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gls_lightning.bounds import Box, Graph, Tensors, margin_specification
from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives.loss_fusion import FusedLoss
from gls_lightning.objectives.losses import accuracy, certified_accuracy, robust_cross_entropy
from gls_lightning.objectives.objective import Batch, Objective
from gls_lightning.relaxations import IBP, Relaxation


class Certified(Objective):
    """Robust cross-entropy: an upper bound of the worst cross-entropy in the box (paper, section 2.2).

    Args:
        natural_weight: Weight w of the cross-entropy on the clean samples; the loss is (1 - w) robust + w natural.
        loss_fusion: Whether the relaxation bounds one function of the logits that is above the whole cross-entropy (Xu
            et al., 2020), made from margin bounds by IBP, instead of each margin by itself. With K classes that is one
            back-substituted row instead of K - 1. The bound is another one, neither always looser nor always tighter.
            Training then logs ``fused_certified_accuracy``, what the margins of IBP and the fused bound prove, in
            place of ``certified_accuracy``; validation bounds each margin as always.

    Raises:
        ConfigurationError: If ``natural_weight`` is not in [0, 1].
    """

    def __init__(self, *, natural_weight: float = 0.0, loss_fusion: bool = False) -> None:
        if not 0 <= natural_weight <= 1:
            raise ConfigurationError(f"natural_weight is {natural_weight}; it must lie between 0 and 1")
        self.natural_weight = natural_weight
        self.loss_fusion = loss_fusion

    def __call__(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`Objective.__call__`."""
        logits = graph(tensors, batch.inputs)
        spec = margin_specification(batch.labels, graph.num_outputs, batch.inputs.dtype)
        box = Box.around(batch.inputs, batch.epsilon)
        if self.loss_fusion:
            robust, lower = _fused_cross_entropy(graph, relaxation, tensors, box, spec)
        else:
            lower = relaxation(graph, tensors, box, spec)
            robust = robust_cross_entropy(lower)
        loss = robust.mean()
        if self.natural_weight:
            loss = torch.lerp(loss, F.cross_entropy(logits, batch.labels), self.natural_weight)
        return loss, {
            "natural_accuracy": accuracy(logits, batch.labels),
            f"{'fused_' * self.loss_fusion}certified_accuracy": certified_accuracy(logits, batch.labels, lower),
        }


def _fused_cross_entropy(
    graph: Graph, relaxation: Relaxation, tensors: Tensors, box: Box, margins: Tensor
) -> tuple[Tensor, Tensor]:
    """The fused bound of the cross-entropy, ``[B]``, and the lower bounds of the margins known with it, ``[B, S]``."""
    lower, negated_upper = IBP()(graph, tensors, box, torch.cat([margins, -margins], dim=1)).chunk(2, dim=1)
    fused = FusedLoss.between(lower, -negated_upper, margins)
    loss = fused.cross_entropy(relaxation(graph, tensors, box, fused.row))
    # Every exp(-d_i) is one of the terms in exp(loss) - 1.
    return loss, torch.maximum(lower, -loss.detach().expm1().log()[:, None])
