"""Standard training."""

import torch.nn.functional as F
from torch import Tensor

from gls_lightning.bounds import Graph, Tensors
from gls_lightning.objectives.losses import fraction
from gls_lightning.objectives.objective import Batch, Objective
from gls_lightning.relaxations import Relaxation


class Standard(Objective):
    """Cross-entropy on the clean samples: training without a defence.

    Example:
        >>> import torch
        >>> from gls_lightning.bounds import trace
        >>> from gls_lightning.relaxations import IBP
        >>> network = torch.nn.Linear(3, 3)
        >>> batch = Batch(torch.eye(3), torch.arange(3), epsilon=torch.tensor(0.1))
        >>> tensors = {"weight": 10 * torch.eye(3), "bias": torch.zeros(3)}
        >>> loss, metrics = Standard()(trace(network, (3,)), IBP(), tensors, batch)
        >>> round(loss.item(), 4), metrics["natural_accuracy"].item()
        (0.0001, 1.0)
    """

    uses_relaxation = False

    def __call__(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`Objective.__call__`."""
        logits = batch.logits(graph, tensors)
        correct = logits.argmax(1) == batch.labels
        return F.cross_entropy(logits, batch.labels), {"natural_accuracy": fraction(correct, logits)}
