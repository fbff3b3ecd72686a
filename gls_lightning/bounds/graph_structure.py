"""The order and the kinds of the operations that a network consists of."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch

from gls_lightning.bounds.operations import (
    Activation,
    AffineOperation,
    BatchNorm,
    ElementwiseAffine,
    Identity,
    Operation,
    ReLU,
    Reshape,
)
from gls_lightning.errors import ConfigurationError

INPUT = ".input"
"""Name under which operations find the network's input; no module's name begins with a dot."""


@dataclass(frozen=True)
class Node:
    """One operation of a network and where its inputs come from.

    Attributes:
        name: The module's place in the network, or a name made from the function that is called.
        operation: The operation.
        inputs: Names of the nodes whose outputs it takes; ``INPUT`` is the network's input.
    """

    name: str
    operation: Operation
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class GraphStructure:
    """Operations in an order in which they can be evaluated, and questions about them.

    Attributes:
        nodes: The operations; the last one gives the network's output.
        input_shape: Shape of the input without the batch.
    """

    nodes: tuple[Node, ...]
    input_shape: torch.Size

    def split(self, name: str) -> tuple[Self, Self]:
        """Cuts the network behind one node.

        Args:
            name: The node whose output becomes the output of the first part and the input of the second.

        Returns:
            Two graphs over the same tensors, each of which can be evaluated and bounded.

        Raises:
            ConfigurationError: If there is no such node, or another connection passes by it.
        """
        if name not in self.by_name:
            raise ConfigurationError(f"the network has no node {name!r} to split at; it has {', '.join(self.by_name)}")
        first = self.ancestors(name)
        rest = tuple(node for node in self.nodes if node not in first)
        crossing = {i for node in rest for i in node.inputs} & {INPUT, *(node.name for node in first)} - {name}
        if crossing or not rest:
            passing = ", ".join(sorted(crossing)) or "nothing follows it"
            raise ConfigurationError(f"the network cannot be split at {name!r}: not the only connection ({passing})")
        renamed = tuple(
            Node(node.name, node.operation, tuple(INPUT if i == name else i for i in node.inputs)) for node in rest
        )
        cut = self.by_name[name].operation.output_shape
        return replace(self, nodes=first), replace(self, nodes=renamed, input_shape=cut)

    def ancestors(self, name: str) -> tuple[Node, ...]:
        """Lists the node and all that it depends on, in the order of evaluation."""
        needed = {name}
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        return tuple(node for node in self.nodes if node.name in needed)

    @property
    def by_name(self) -> Mapping[str, Node]:
        """The nodes by their names."""
        return {node.name: node for node in self.nodes}

    @property
    def output(self) -> str:
        """Name of the node that gives the network's output."""
        return self.nodes[-1].name

    @property
    def size(self) -> int:
        """Number of elements of all nodes together, for one sample."""
        return sum(node.operation.output_shape.numel() for node in self.nodes)

    @property
    def num_outputs(self) -> int:
        """Number of logits."""
        return self.nodes[-1].operation.output_shape.numel()

    @property
    def last_layer(self) -> tuple[str, ...]:
        """The nodes that a specification is merged with: the last linear layer, and what only rescales its output."""
        names, name = [], self.output
        while isinstance(operation := self.by_name[name].operation, AffineOperation):
            names.append(name)
            if not isinstance(operation, ElementwiseAffine | Reshape) or self.by_name[name].inputs[0] == INPUT:
                break
            name = self.by_name[name].inputs[0]
        return tuple(names)

    @property
    def activations(self) -> tuple[Node, ...]:
        """The nonlinear nodes, in the order of evaluation."""
        return tuple(node for node in self.nodes if isinstance(node.operation, Activation))

    @property
    def relus(self) -> tuple[str, ...]:
        """Names of the ReLU nodes, in the order of evaluation."""
        return tuple(node.name for node in self.nodes if isinstance(node.operation, ReLU))

    @property
    def has_batch_norm(self) -> bool:
        """Says whether any node is a BatchNorm."""
        return any(isinstance(node.operation, BatchNorm) for node in self.nodes)

    @property
    def smallest_batch(self) -> int:
        """Number of samples from which on every BatchNorm sees more than one value for each channel."""
        norms = [node.operation for node in self.nodes if isinstance(node.operation, BatchNorm)]
        return 2 if any(norm.output_shape[1:].numel() == 1 for norm in norms) else 1

    @property
    def dropout(self) -> float:
        """Largest probability with which training would drop elements; 0 without dropout."""
        return max((n.operation.dropout for n in self.nodes if isinstance(n.operation, Identity)), default=0.0)
