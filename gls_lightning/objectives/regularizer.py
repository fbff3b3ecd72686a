"""The interface of regularisers."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from math import inf

from torch import Tensor

from gls_lightning.bounds import Graph, Tensors
from gls_lightning.errors import ConfigurationError
from gls_lightning.objectives.objective import Batch


class Regularizer(ABC):
    """A term that training adds to the loss of the objective, and that no validation sees.

    Like an objective it is a pure function that works under ``torch.no_grad`` and ``torch.func.vmap``; estimators that
    perturb parameters evaluate it at the perturbed ones.

    Args:
        weight: Factor of the term.

    Attributes:
        name: Under which training logs what the term adds to the loss: ``train/name``.
        uses_batch_statistics: Whether the term is no mean over samples; processes that share out a batch then do not
            compute what one process would.
        fades_with_epsilon: Whether the term is there only while the radius is annealed.

    Raises:
        ConfigurationError: If ``weight`` is negative or not finite.
    """

    name: str = "regularizer"
    uses_batch_statistics: bool = False
    fades_with_epsilon: bool = False

    def __init__(self, *, weight: float) -> None:
        if not 0 <= weight < inf:
            raise ConfigurationError(
                f"weight is {weight}; the weight of {type(self).__name__} must be a finite number of at least 0"
            )
        self.weight = weight

    @abstractmethod
    def __call__(self, graph: Graph, tensors: Tensors, batch: Batch, trainable: Collection[str]) -> Tensor:
        """Evaluates the term.

        Args:
            graph: The network.
            tensors: The network's parameters and buffers, with the statistics that BatchNorm is to use. A parameter
                that is shared stands there under each of its names, as one and the same tensor.
            batch: The samples, and the current radius.
            trainable: Names of the parameters that are trained.

        Returns:
            What is added to the loss, 0-dim.
        """
