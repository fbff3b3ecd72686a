"""Training without a defence."""

import torch.nn.functional as F
from torch import Tensor

from gls_lightning.bounds import Graph, Tensors
from gls_lightning.objectives.losses import fraction
from gls_lightning.objectives.objective import Batch, Objective
from gls_lightning.relaxations import Relaxation


class Standard(Objective):
    """Cross-entropy on the clean samples."""

    uses_relaxation = False

    def __call__(
        self, graph: Graph, relaxation: Relaxation, tensors: Tensors, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`Objective.__call__`."""
        logits = graph(tensors, batch.inputs)
        correct = logits.argmax(1) == batch.labels
        return F.cross_entropy(logits, batch.labels), {"natural_accuracy": fraction(correct, logits)}
