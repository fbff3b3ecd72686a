"""SABR."""

from torch import Tensor
from typing_extensions import override

from gls_lightning.attacks import Attack
from gls_lightning.bounds import Graph, Tensors
from gls_lightning.objectives._small_boxes import SmallBoxes, SmallRadius
from gls_lightning.objectives.losses import certified_accuracy, robust_cross_entropy
from gls_lightning.objectives.objective import Batch
from gls_lightning.objectives.robust import RobustObjective
from gls_lightning.relaxations import Relaxation


class SABR(RobustObjective):
    """Robust cross-entropy on small boxes around adversarial points, inside the whole boxes (Mueller et al., 2023).

    The loss regularises less than the bound over the whole box, but is no bound of the worst loss there. The small
    boxes are held fixed when it is differentiated. Training logs ``adversarial_accuracy``, and
    ``small_box_certified_accuracy``, the fraction that the relaxation proves on the small boxes.

    Args:
        attack: Finds the adversarial points. By default PGD of 10 steps of 0.2 and 3 restarts, as CTBench trains SABR.
        subselection_ratio: Lambda, the radius of a small box as a share of the whole one's; 0 is adversarial training,
            1 certified training.
        radius: The whole radius in this ratio: "half_width", that of the box cut off at 0 and 1, in each coordinate
            (CTBench), or "epsilon" (the authors' code). Small boxes never leave the whole box.
        natural_weight: Weight w of the cross-entropy on the clean samples; the loss is (1 - w) robust + w natural.

    Example:
        >>> import torch
        >>> from gls_lightning.bounds import trace
        >>> from gls_lightning.relaxations import IBP
        >>> objective, graph = SABR(subselection_ratio=0.1), trace(torch.nn.Linear(3, 3), (3,))
        >>> starts = objective.draw_starts(graph, torch.arange(3), 0)
        >>> batch = Batch(torch.eye(3), torch.arange(3), torch.tensor(0.1), starts)
        >>> tensors = {"weight": torch.eye(3), "bias": torch.zeros(3)}
        >>> loss, metrics = objective(graph, IBP(), tensors, batch)
        >>> sorted(metrics)
        ['adversarial_accuracy', 'natural_accuracy', 'small_box_certified_accuracy']
    """

    attack: Attack

    def __init__(
        self,
        *,
        attack: Attack | None = None,
        subselection_ratio: float = 0.4,
        radius: SmallRadius = "half_width",
        natural_weight: float = 0.0,
    ) -> None:
        super().__init__(natural_weight=natural_weight)
        self.small_boxes = SmallBoxes(attack, subselection_ratio, radius)
        self.attack = self.small_boxes.attack

    @override
    def _robust_loss(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch, correct: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        box, metrics = self.small_boxes.find(graph, tensors, batch, correct)
        lower = relaxation.margins(graph, tensors, box, batch.labels)
        metrics["small_box_certified_accuracy"] = certified_accuracy(correct, lower)
        return robust_cross_entropy(lower).mean(), metrics
