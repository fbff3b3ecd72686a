"""What the relaxations by back-substitution share."""

from abc import abstractmethod

from torch import Tensor

from gls_lightning.bounds import BackSubstitution, Box, Graph, Tensors
from gls_lightning.errors import ConfigurationError
from gls_lightning.relaxations.relaxation import Relaxation


class LinearRelaxation(Relaxation):
    """Bounds the specification by back-substitution to the input; subclasses choose how they bound the ReLUs.

    Args:
        memory_budget: GiB that the coefficients of one back-substitution may take, gradients included. What does not
            fit is done in parts, each computed again in the backward pass.

    Raises:
        ConfigurationError: If ``memory_budget`` is not positive.
    """

    def __init__(self, *, memory_budget: float = 1.0) -> None:
        if memory_budget <= 0:
            raise ConfigurationError(f"memory_budget is {memory_budget} GiB; it must be positive")
        self.memory_budget = memory_budget

    @abstractmethod
    def _relax(self, substitution: BackSubstitution) -> dict[str, Box]:
        """Bounds the inputs of the activations and gives ``substitution`` their lines; returns the bounds by name."""

    def __call__(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> Tensor:
        substitution = self._substitution(graph, tensors, box)
        self._relax(substitution)
        return substitution.specification_bounds(specification)

    def relu_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
        return self._relax(self._substitution(graph, tensors, box))

    def _substitution(self, graph: Graph, tensors: Tensors, box: Box) -> BackSubstitution:
        return BackSubstitution(graph, tensors, graph.exact_boxes(tensors, box), int(self.memory_budget * 2**30))
