"""Certified training with one relaxation."""

import torch
from torch import Tensor
from typing_extensions import override

from gls_lightning.bounds import Box, Graph, Tensors, margin_specification
from gls_lightning.objectives._loss_fusion import FusedLoss
from gls_lightning.objectives.losses import certified_accuracy, robust_cross_entropy
from gls_lightning.objectives.objective import Batch
from gls_lightning.objectives.robust import RobustObjective
from gls_lightning.relaxations import IBP, Relaxation


class Certified(RobustObjective):
    """Robust cross-entropy: an upper bound of the worst cross-entropy in the box (paper, section 2.2).

    The relaxation bounds each margin (true logit minus another one) from below. The cross-entropy of these lower bounds
    is at least the cross-entropy at any point of the box. Training logs ``certified_accuracy``, the fraction of samples
    whose bounds are all positive.

    Args:
        natural_weight: Weight w of the cross-entropy on the clean samples; the loss is (1 - w) robust + w natural.
        loss_fusion: Whether to bound the whole cross-entropy at once instead of each margin (Xu et al., 2020). IBP's
            bounds of the margins give one linear function of the logits above the cross-entropy, and the relaxation
            bounds this function: one back-substituted row instead of K - 1 for K classes. The result may be looser or
            tighter. Training then logs ``fused_certified_accuracy``, the fraction that IBP and the fused bound prove,
            in place of ``certified_accuracy``. Validation still bounds each margin.

    Example:
        >>> from gls_lightning.bounds import trace
        >>> network = torch.nn.Linear(3, 3)
        >>> batch = Batch(torch.eye(3), torch.arange(3), epsilon=torch.tensor(0.1))
        >>> tensors = {"weight": 10 * torch.eye(3), "bias": torch.zeros(3)}
        >>> loss, metrics = Certified()(trace(network, (3,)), IBP(), tensors, batch)
        >>> round(loss.item(), 4), metrics["certified_accuracy"].item()
        (0.0007, 1.0)
    """

    def __init__(self, *, natural_weight: float = 0.0, loss_fusion: bool = False) -> None:
        super().__init__(natural_weight=natural_weight)
        self.loss_fusion = loss_fusion

    @override
    def _robust_loss(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch, correct: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        box = Box.around(batch.inputs, batch.epsilon)
        if self.loss_fusion:
            robust, lower = _fused_cross_entropy(graph, relaxation, tensors, box, batch.labels)
        else:
            lower = relaxation.margins(graph, tensors, box, batch.labels)
            robust = robust_cross_entropy(lower)
        name = f"{'fused_' * self.loss_fusion}certified_accuracy"
        return robust.mean(), {name: certified_accuracy(correct, lower)}


def _fused_cross_entropy(
    graph: Graph, relaxation: Relaxation, tensors: Tensors, box: Box, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the fused bound of the cross-entropy, ``[B]``, and lower bounds of the margins, ``[B, S]``."""
    intervals = graph.intervals(tensors, box, last_layer=False)
    lower, upper = IBP().margin_box(graph, tensors, intervals, labels)
    margins = margin_specification(labels, graph.num_outputs, lower.dtype)
    fused = FusedLoss.between(lower, upper, margins)
    loss = fused.cross_entropy(relaxation.given_intervals(graph, tensors, intervals, fused.row))
    # Every exp(-d_i) is one of the terms in exp(loss) - 1.
    return loss, torch.maximum(lower, -loss.detach().expm1().log()[:, None])
