"""Adversarial training."""

import torch.nn.functional as F
from torch import Tensor

from gls_lightning.attacks import PGD, Attack
from gls_lightning.bounds import Box, Graph, Tensors
from gls_lightning.objectives.objective import Batch, Objective
from gls_lightning.relaxations import Relaxation


class Adversarial(Objective):
    """Cross-entropy at the points that an attack finds in the boxes (Madry et al., 2018).

    The points are constants: the gradient is that of the cross-entropy at them (Danskin's theorem). The metric
    ``adversarial_accuracy`` counts samples that are classified correctly, and that the attack leaves so.

    Args:
        attack: Searches the box of the current radius. By default PGD of 10 steps and 3 restarts, as in CTBench.
    """

    uses_relaxation = False
    attack: Attack

    def __init__(self, *, attack: Attack | None = None) -> None:
        self.attack = attack or PGD(steps=10, restarts=3)

    def __call__(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`Objective.__call__`; needs ``batch.starts``."""
        attacked = graph(tensors, self._points(graph, tensors, batch))
        natural = graph(tensors, batch.inputs).argmax(1) == batch.labels
        return F.cross_entropy(attacked, batch.labels), {
            "natural_accuracy": natural.to(attacked.dtype).mean(),
            "adversarial_accuracy": (natural & (attacked.argmax(1) == batch.labels)).to(attacked.dtype).mean(),
        }

    def _points(self, graph: Graph, tensors: Tensors, batch: Batch) -> Tensor:
        """What the attack finds on the network with the given tensors, ``[B, *input]``."""
        assert batch.starts is not None, "the attack needs starts; see Objective.draw_starts"
        box = Box.around(batch.inputs, batch.epsilon)
        return self.attack(lambda x: graph(tensors, x), *box, batch.labels, batch.starts).detach()
