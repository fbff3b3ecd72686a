"""The interface of regularisers."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from math import inf

from torch import Tensor

from gls_lightning.arguments import require
from gls_lightning.bounds import Graph, Tensors
from gls_lightning.objectives.objective import Batch


class Regularizer(ABC):
    """A term that training adds to the objective's loss; validation leaves it out.

    Like an objective it is a pure function that works under ``torch.no_grad`` and ``torch.func.vmap``. Estimators that
    perturb parameters evaluate it at the perturbed parameters.

    Args:
        weight: Factor of the term.

    Attributes:
        name: Name in the log: training logs the term as ``train/name``.
        uses_batch_statistics: Whether the term is something else than a mean over the samples. If so, processes that
            split a batch among them do not compute the term of the whole batch.
        fades_with_epsilon: Whether the term is there only while the radius is annealed.

    Raises:
        ConfigurationError: If ``weight`` is negative or not finite.
    """

    name: str = "regularizer"
    uses_batch_statistics: bool = False
    fades_with_epsilon: bool = False

    def __init__(self, *, weight: float) -> None:
        require(0 <= weight < inf, f"weight of {type(self).__name__}", weight, "a finite number of at least 0")
        self.weight = weight

    @abstractmethod
    def __call__(self, graph: Graph, tensors: Tensors, batch: Batch, trainable: Collection[str]) -> Tensor:
        """Computes the term for a batch.

        Args:
            graph: The network.
            tensors: The network's parameters and buffers by name, with the statistics that BatchNorm is to use. A
                shared parameter has several names for one tensor.
            batch: The samples and the current radius.
            trainable: Names of the parameters that are trained.

        Returns:
            The term to add to the loss, 0-dim.
        """
