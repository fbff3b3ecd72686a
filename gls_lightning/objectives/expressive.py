"""The common part of the expressive losses."""

from abc import abstractmethod
from math import inf

from torch import Tensor
from typing_extensions import override

from gls_lightning.arguments import component, require
from gls_lightning.attacks import PGD, Attack
from gls_lightning.bounds import Box, Graph, Tensors, other_classes
from gls_lightning.objectives.losses import adversarial_accuracy, certified_accuracy
from gls_lightning.objectives.objective import Batch
from gls_lightning.objectives.robust import RobustObjective, adversarial_points
from gls_lightning.relaxations import Relaxation


class ExpressiveLoss(RobustObjective):
    """A loss between adversarial and certified training (De Palma et al., 2024, "Expressive Losses").

    With ``alpha`` 0 it is the cross-entropy at adversarial points, with 1 the relaxation's robust cross-entropy. In
    between it grows with ``alpha``, if the attack stays in the box. The published names say IBP, but any relaxation
    serves. The points are held fixed when the loss is differentiated. Training logs ``certified_accuracy``, the
    fraction proved by the relaxation, and ``adversarial_accuracy``, the fraction still correct after the attack.

    Args:
        alpha: Share of the bounds: 0 is adversarial training, 1 certified training.
        attack: Finds the adversarial points. By default PGD of 10 steps and 3 restarts, as in CTBench.
        attack_scale: Radius of the attack as a multiple of epsilon; its box is cut off at 0 and 1, too.
        natural_weight: Weight w of the cross-entropy on the clean samples; the loss is (1 - w) expressive + w natural.

    Raises:
        ConfigurationError: If ``alpha`` is not in [0, 1], or ``attack_scale`` is negative or not finite.
    """

    attack: Attack

    def __init__(
        self,
        *,
        alpha: float,
        attack: Attack | None = None,
        attack_scale: float = 1.0,
        natural_weight: float = 0.0,
    ) -> None:
        super().__init__(natural_weight=natural_weight)
        require(0 <= alpha <= 1, "alpha", alpha, "between 0 (adversarial) and 1 (certified)")
        require(0 <= attack_scale < inf, "attack_scale", attack_scale, "a finite number of at least 0")
        self.alpha = alpha
        self.attack = component("attack", attack, Attack) or PGD(steps=10, restarts=3)
        self.attack_scale = attack_scale

    @abstractmethod
    def combine(self, lower: Tensor, attacked: Tensor) -> Tensor:
        """Computes the loss of a batch.

        Args:
            lower: Lower bounds of the true logit minus every other one, ``[B, K - 1]``.
            attacked: The same differences at the adversarial points, ``[B, K - 1]``.

        Returns:
            The loss, 0-dim.
        """

    @override
    def _robust_loss(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch, correct: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        lower = relaxation.margins(graph, tensors, Box.around(batch.inputs, batch.epsilon), batch.labels)
        box = Box.around(batch.inputs, self.attack_scale * batch.epsilon)
        logits = graph(tensors, adversarial_points(self.attack, graph, tensors, box, batch))
        labels = batch.labels[:, None]
        attacked = logits.gather(1, labels) - logits.gather(1, other_classes(batch.labels, graph.num_outputs))
        return self.combine(lower, attacked), {
            "certified_accuracy": certified_accuracy(correct, lower),
            "adversarial_accuracy": adversarial_accuracy(correct, logits, batch.labels),
        }
