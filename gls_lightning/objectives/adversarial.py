"""Adversarial training."""

import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from gls_lightning.arguments import component
from gls_lightning.attacks import PGD, Attack
from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.objectives.losses import adversarial_accuracy
from gls_lightning.objectives.objective import Batch
from gls_lightning.objectives.robust import RobustObjective, adversarial_points
from gls_lightning.relaxations import Relaxation


class Adversarial(RobustObjective):
    """Cross-entropy at the points that an attack finds in the boxes (Madry et al., 2018).

    The loss is differentiated with the points held fixed (Danskin's theorem). Training logs ``adversarial_accuracy``,
    the fraction of samples that are classified correctly both before and after the attack.

    Args:
        attack: Searches the box of the current radius. By default PGD of 10 steps and 3 restarts, as in CTBench.
        natural_weight: Weight w of the cross-entropy on the clean samples; the loss is (1 - w) adversarial + w natural.

    Example:
        >>> import torch
        >>> from gls_lightning.bounds import trace
        >>> from gls_lightning.relaxations import IBP
        >>> objective, graph = Adversarial(attack=PGD(steps=2)), trace(torch.nn.Linear(3, 3), (3,))
        >>> starts = objective.draw_starts(graph, torch.arange(3), 0)
        >>> batch = Batch(torch.eye(3), torch.arange(3), torch.tensor(0.1), starts)
        >>> tensors = {"weight": 10 * torch.eye(3), "bias": torch.zeros(3)}
        >>> loss, metrics = objective(graph, IBP(), tensors, batch)
        >>> round(loss.item(), 4), metrics["adversarial_accuracy"].item()
        (0.0007, 1.0)
    """

    uses_relaxation = False
    attack: Attack

    def __init__(self, *, attack: Attack | None = None, natural_weight: float = 0.0) -> None:
        super().__init__(natural_weight=natural_weight)
        self.attack = component("attack", attack, Attack) or PGD(steps=10, restarts=3)

    @override
    def _robust_loss(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch, correct: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        box = Box.around(batch.inputs, batch.epsilon)
        attacked = graph(tensors, adversarial_points(self.attack, graph, tensors, box, batch))
        return F.cross_entropy(attacked, batch.labels), {
            "adversarial_accuracy": adversarial_accuracy(correct, attacked, batch.labels)
        }
