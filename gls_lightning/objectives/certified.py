"""Certified training with one relaxation."""

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds import Box, Graph, Tensors, margin_specification
from gls_lightning.objectives.loss_fusion import FusedLoss
from gls_lightning.objectives.losses import certified_accuracy, robust_cross_entropy
from gls_lightning.objectives.objective import Batch
from gls_lightning.objectives.robust import RobustObjective
from gls_lightning.relaxations import IBP, Relaxation


class Certified(RobustObjective):
    """Robust cross-entropy: an upper bound of the worst cross-entropy in the box (paper, section 2.2).

    Args:
        natural_weight: Weight w of the cross-entropy on the clean samples; the loss is (1 - w) robust + w natural.
        loss_fusion: Whether the relaxation bounds one function of the logits that is above the whole cross-entropy (Xu
            et al., 2020), made from margin bounds by IBP, instead of each margin by itself. With K classes that is one
            back-substituted row instead of K - 1. The bound is another one, neither always looser nor always tighter.
            Training then logs ``fused_certified_accuracy``, what the margins of IBP and the fused bound prove, in
            place of ``certified_accuracy``; validation bounds each margin as always.
    """

    def __init__(self, *, natural_weight: float = 0.0, loss_fusion: bool = False) -> None:
        super().__init__(natural_weight=natural_weight)
        self.loss_fusion = loss_fusion

    @override
    def _robust_loss(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch, correct: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        spec = margin_specification(batch.labels, graph.num_outputs, batch.inputs.dtype)
        box = Box.around(batch.inputs, batch.epsilon)
        if self.loss_fusion:
            robust, lower = _fused_cross_entropy(graph, relaxation, tensors, box, spec)
        else:
            lower = relaxation(graph, tensors, box, spec)
            robust = robust_cross_entropy(lower)
        name = f"{'fused_' * self.loss_fusion}certified_accuracy"
        return robust.mean(), {name: certified_accuracy(correct, lower)}


def _fused_cross_entropy(
    graph: Graph, relaxation: Relaxation, tensors: Tensors, box: Box, margins: Tensor
) -> tuple[Tensor, Tensor]:
    """The fused bound of the cross-entropy, ``[B]``, and the lower bounds of the margins known with it, ``[B, S]``."""
    lower, negated_upper = IBP()(graph, tensors, box, torch.cat([margins, -margins], dim=1)).chunk(2, dim=1)
    fused = FusedLoss.between(lower, -negated_upper, margins)
    loss = fused.cross_entropy(relaxation(graph, tensors, box, fused.row))
    # Every exp(-d_i) is one of the terms in exp(loss) - 1.
    return loss, torch.maximum(lower, -loss.detach().expm1().log()[:, None])
