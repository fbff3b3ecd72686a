"""One node of an ONNX network, and the graph that it is added to."""

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
"""What adds the operations of an ONNX node to the graph and returns the name of the last one, by the node's type."""


@dataclass
class GraphInProgress:
    """The part of a graph that is built.

    Attributes:
        values: Every value of the ONNX network at an example, by its name.
        sources: The graph's names for those values that depend on the network's input, by their ONNX names.
        shapes: Shapes of the graph's values without the batch, by the graph's names.
        nodes: The graph's nodes.
        tensors: The constants that they use, float64.
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
        """Value of an attribute; text as ``str``."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def is_source(self, position: int) -> bool:
        """Whether an input of the node depends on the network's input."""
        return len(self.node.input) > position and self.node.input[position] in self.graph.sources

    def source(self, position: int = 0) -> str:
        """The graph's name of an input of the node."""
        if not self.is_source(position):
            self.refuse(f"input {position} must depend on the network's input")
        return self.graph.sources[self.node.input[position]]

    def constant(self, position: int) -> Array | None:
        """An input of the node that is a constant; nothing if it is left out."""
        if len(self.node.input) <= position or not self.node.input[position]:
            return None
        if self.is_source(position):
            self.refuse(f"input {position} must be a constant")
        return self.graph.values[self.node.input[position]]

    def tensor(self, value: Array | None) -> str | None:
        """Keeps a constant; its name among the tensors."""
        if value is None:
            return None
        if not np.isfinite(value).all():
            self.refuse("it has a constant that is not finite")
        name = f"{self.name}.constant{len(self.graph.tensors)}"
        self.graph.tensors[name] = torch.from_numpy(np.array(value, np.float64))
        return name

    def shape(self, source: str) -> torch.Size:
        """Shape of one of the graph's values, without the batch."""
        return self.graph.shapes[source]

    def append(self, kind: type[Operation], *inputs: str, **fields: Any) -> str:
        """Appends an operation, by default with the shape of the node's output; returns the name of its node."""
        return self.graph.append(self.name, kind, *inputs, **{"output_shape": self.output_shape, **fields})

    def refuse(self, why: str = "") -> NoReturn:
        """Says that this node cannot be verified.

        Raises:
            UnsupportedOperationError: Always.
        """
        supported = ", ".join(sorted(CONVERTERS))
        raise UnsupportedOperationError(
            f"ONNX operation {self.node.op_type} at {self.node.name or self.name!r} cannot be verified"
            f"{': ' if why else ''}{why} (supported: {supported}, and any operation on constants)"
        )


def converts(*types: str) -> Callable[[Callable[[OnnxCall], str]], Callable[[OnnxCall], str]]:
    """Decorates what adds the operations of nodes of these types to the graph."""

    def register(convert: Callable[[OnnxCall], str]) -> Callable[[OnnxCall], str]:
        CONVERTERS.update(dict.fromkeys(types, convert))
        return convert

    return register
