"""Networks that can be evaluated but not bounded here."""

import copy
from collections.abc import Sequence
from itertools import chain
from typing import NoReturn, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.bounds.graph import Graph
from gls_lightning.bounds.operations import Tensors, UnsupportedOperationError
from gls_lightning.private_names import of_torch


class OpaqueGraph(Graph):
    """Stands for the graph of a network that cannot be traced, for relaxations which bound the module by themselves.

    It is evaluated like any graph. Whatever asks for its operations gets the error of the tracing.

    Args:
        network: Maps ``[B, *input_shape]`` to logits ``[B, K]``; copied, in evaluation mode.
        input_shape: Shape of the input without the batch.
        why: What the tracing said.

    Raises:
        UnsupportedOperationError: If the network does not return logits.
    """

    def __init__(self, network: nn.Module, input_shape: Sequence[int], why: UnsupportedOperationError) -> None:
        vars(self).update(network=copy.deepcopy(network).eval(), input_shape=torch.Size(input_shape), why=why)
        tensors = network.state_dict()
        some = next((t for t in tensors.values() if t.is_floating_point()), torch.zeros(()))
        with torch.no_grad():
            logits = self(tensors, some.new_zeros(2, *input_shape))
        if not (isinstance(logits, Tensor) and logits.ndim == 2 and logits.shape[1] > 1):
            raise UnsupportedOperationError("the network must return one tensor of logits [B, K], with K at least 2")
        vars(self).update(classes=logits.shape[1])

    network: nn.Module
    why: UnsupportedOperationError
    classes: int

    @property
    def nodes(self) -> NoReturn:
        """The operations, which are not known.

        Raises:
            UnsupportedOperationError: Always.
        """
        raise UnsupportedOperationError(f"{self.why}; only a relaxation that needs no graph, AutoLiRPA, can bound it")

    @override
    def __call__(self, tensors: Tensors, x: Tensor) -> Tensor:
        logits: Tensor = torch.func.functional_call(self.network, dict(tensors), (x,), tie_weights=False)
        return logits

    @override
    def rigorously(self) -> Self:
        return self  # what bounds it has rounding errors of its own

    def module(self, tensors: Tensors) -> nn.Module:
        """Returns a copy of the network that has these very tensors as its parameters and buffers."""
        parameters = self.network.named_parameters(remove_duplicate=False)
        own = chain(parameters, self.network.named_buffers(remove_duplicate=False))
        return copy.deepcopy(self.network, memo={id(tensor): tensors[name] for name, tensor in own})

    @override
    def batch_statistics(self, tensors: Tensors, x: Tensor) -> dict[str, Tensor]:
        """Returns nothing, for a network without BatchNorm.

        Raises:
            UnsupportedOperationError: If there is a BatchNorm, whose statistics are hidden in the network.
        """
        return self.normalised_by_batch(tensors, x)[0] if self.has_batch_norm else {}

    @override
    def normalised_by_batch(self, tensors: Tensors, x: Tensor) -> NoReturn:
        raise UnsupportedOperationError(f"a network with BatchNorm must be traced to be trained: {self.why}")

    @property
    @override
    def num_outputs(self) -> int:
        return self.classes

    @property
    @override
    def has_batch_norm(self) -> bool:
        return any(isinstance(module, of_torch.BatchNorm) for module in self.network.modules())

    @property
    @override
    def smallest_batch(self) -> int:
        return 1  # with BatchNorm it has no batch statistics anyway

    @property
    @override
    def dropout(self) -> float:
        return max((m.p for m in self.network.modules() if isinstance(m, of_torch.Dropout)), default=0.0)
