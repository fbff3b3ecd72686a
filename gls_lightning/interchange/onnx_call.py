"""A node of an ONNX network, and the graph to which its operations are added."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from gls_lightning.bounds import Node, UnsupportedOperationError
from gls_lightning.bounds.operations import Operation

Array = NDArray[Any]

CONVERTERS: dict[str, Callable[["OnnxCall"], str]] = {}
"""Converters by the types of ONNX nodes: each adds a node's operations to the graph and returns the last one's name."""


@dataclass
class GraphInProgress:
    """The part of a graph that has been built.

    Attributes:
        values: Every value of the ONNX network at an example, by its name.
        sources: The graph's names of the values that depend on the network's input, by their ONNX names.
        shapes: Shapes of the graph's values without the batch, by the graph's names.
        nodes: The graph's nodes.
        tensors: The nodes' constants, float64.
    """

    values: dict[str, Array]
    sources: dict[str, str]
    shapes: dict[str, torch.Size]
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)

    def append(self, name: str, kind: type[Operation], *inputs: str, output_shape: torch.Size, **fields: Any) -> str:
        """Appends an operation; returns the name of its node, which begins with ``name``."""
        operation = kind(input_shapes=tuple(self.shapes[i] for i in inputs), output_shape=output_shape, **fields)
        unique = f"{name}.{len(self.nodes)}"
        self.nodes.append(Node(unique, operation, inputs))
        self.shapes[unique] = output_shape
        return unique


@dataclass
class OnnxCall:
    """A node that depends on the network's input.

    Attributes:
        node: The node.
        graph: Where its operations go.
    """

    node: onnx.NodeProto
    graph: GraphInProgress

    @property
    def name(self) -> str:
        """Name of the node's output."""
        return str(self.node.output[0])

    @property
    def output_shape(self) -> torch.Size:
        """Shape of the output without the batch."""
        batch, *shape = self.graph.values[self.name].shape or (0,)
        if batch != 1:
            self.refuse(f"its output has the shape {[batch, *shape]}, whose first dimension is not the batch")
        return torch.Size(shape)

    def attribute(self, name: str, default: Any) -> Any:
        """Returns the value of an attribute; text as ``str``."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def is_source(self, position: int) -> bool:
        """Says whether an input of the node depends on the network's input."""
        return len(self.node.input) > position and self.node.input[position] in self.graph.sources

    def source(self, position: int = 0) -> str:
        """Returns the graph's name of an input of the node."""
        if not self.is_source(position):
            self.refuse(f"input {position} must depend on the network's input")
        return self.graph.sources[self.node.input[position]]

    def constant(self, position: int) -> Array | None:
        """Returns a constant input of the node; None if the input is left out."""
        if len(self.node.input) <= position or not self.node.input[position]:
            return None
        if self.is_source(position):
            self.refuse(f"input {position} must be a constant")
        return self.graph.values[self.node.input[position]]

    def tensor(self, value: Array | None) -> str | None:
        """Adds a constant to the tensors; returns its name there."""
        if value is None:
            return None
        if not np.isfinite(value).all():
            self.refuse("it has a constant that is not finite")
        name = f"{self.name}.constant{len(self.graph.tensors)}"
        self.graph.tensors[name] = torch.from_numpy(np.array(value, np.float64))
        return name

    def shape(self, source: str) -> torch.Size:
        """Returns the shape of a value of the graph, without the batch."""
        return self.graph.shapes[source]

    def append(self, kind: type[Operation], *inputs: str, **fields: Any) -> str:
        """Appends an operation, by default with the shape of the node's output; returns the name of its node."""
        return self.graph.append(self.name, kind, *inputs, **{"output_shape": self.output_shape, **fields})

    def refuse(self, why: str = "") -> NoReturn:
        """Refuses this node, which cannot be verified.

        Raises:
            UnsupportedOperationError: Always.
        """
        supported = ", ".join(sorted(CONVERTERS))
        raise UnsupportedOperationError(
            f"ONNX operation {self.node.op_type} at {self.node.name or self.name!r} cannot be verified"
            f"{': ' if why else ''}{why} (supported: {supported}, and any operation on constants)"
        )


def converts(*types: str) -> Callable[[Callable[[OnnxCall], str]], Callable[[OnnxCall], str]]:
    """Decorates the converter of nodes of these types."""

    def register(convert: Callable[[OnnxCall], str]) -> Callable[[OnnxCall], str]:
        CONVERTERS.update(dict.fromkeys(types, convert))
        return convert

    return register
