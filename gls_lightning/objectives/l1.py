"""L1 regularisation."""

from collections.abc import Collection
from typing import Literal, TypeAlias, get_args

from torch import Tensor
from typing_extensions import override

from gls_lightning.arguments import require
from gls_lightning.bounds import Graph, Tensors
from gls_lightning.bounds.operations import Convolution, Linear
from gls_lightning.objectives.objective import Batch
from gls_lightning.objectives.regularizer import Regularizer

L1Scope: TypeAlias = Literal["weights", "all"]
"""Which trained parameters count: the weights of linear and convolutional layers, or all, biases and BatchNorm too."""


class L1(Regularizer):
    """The sum of the absolute values of trained parameters, each counted once.

    Args:
        weight: Factor of the sum; 1e-6 to 1e-5 are usual.
        scope: ``weights`` of linear and convolutional layers (Shi et al., 2021; CTBench), or ``all`` parameters, biases
            and BatchNorm's included (SABR's own code). Each needs a factor of its own.

    Raises:
        ConfigurationError: If ``weight`` is negative or not finite, or ``scope`` is unknown.

    Example:
        >>> import torch
        >>> from gls_lightning.bounds import trace
        >>> tensors = {"weight": torch.tensor([[1.0, -2.0], [0.0, 3.0]]), "bias": torch.ones(2)}
        >>> batch = Batch(torch.rand(4, 2), torch.zeros(4, dtype=torch.long), torch.tensor(0.1))
        >>> L1(weight=0.5)(trace(torch.nn.Linear(2, 2), (2,)), tensors, batch, trainable=tensors.keys())
        tensor(3.)
    """

    name = "l1"

    def __init__(self, *, weight: float, scope: L1Scope = "weights") -> None:
        super().__init__(weight=weight)
        require(scope in get_args(L1Scope), "scope of L1", scope, f"one of {', '.join(get_args(L1Scope))}")
        self.scope = scope

    @override
    def __call__(self, graph: Graph, tensors: Tensors, batch: Batch, trainable: Collection[str]) -> Tensor:
        counted = trainable if self.scope == "all" else _weights(graph)
        names = [name for name in trainable if name in counted]  # in their order, on which rounding depends
        shared_once = {id(tensors[name]): tensors[name] for name in names}
        total = batch.inputs.new_zeros(())
        for parameter in shared_once.values():
            total = total + parameter.abs().sum()
        return self.weight * total


def _weights(graph: Graph) -> set[str]:
    """Returns the names of the weights of linear and convolutional layers."""
    return {n.operation.weight for n in graph.nodes if isinstance(n.operation, Linear | Convolution)}
