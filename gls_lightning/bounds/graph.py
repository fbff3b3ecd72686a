"""A network as a graph of primitive operations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self, TypeVar

import torch
from torch import Tensor

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.operations import (
    Activation,
    AffineOperation,
    BatchNorm,
    ElementwiseAffine,
    Identity,
    Operation,
    ReLU,
    Reshape,
    Tensors,
)
from gls_lightning.bounds.rational import Rationals
from gls_lightning.bounds.rounding import EXTRA_TERMS, gamma, limited, smallest
from gls_lightning.errors import ConfigurationError

T = TypeVar("T")

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
class Graph:
    """A network of supported operations, in an order in which they can be evaluated. Holds no tensors.

    Attributes:
        nodes: The operations; the last one gives the network's output.
        input_shape: Shape of the input without the batch.
        rigorous: Whether bounds give away what their own rounding may amount to (see ``rounding.py``), as proofs must.
    """

    nodes: tuple[Node, ...]
    input_shape: torch.Size
    rigorous: bool = field(default=False, repr=False)

    def __call__(self, tensors: Tensors, x: Tensor) -> Tensor:
        """The network's output at ``x [B, *input_shape]``. BatchNorm takes its statistics from ``tensors``."""
        return self.propagate(x, lambda node, *inputs: node.operation.evaluate(tensors, *inputs))[self.output]

    def exactly(self, tensors: Tensors, x: Rationals) -> Rationals:
        """The network's output ``[*output_shape]`` at one input ``x [*input_shape]``, without any rounding.

        Meant for small networks: a second takes some 10^7 products.

        Raises:
            NotRationalError: An operation, such as a sigmoid or BatchNorm, does not keep to rational numbers.
        """
        values = self.propagate(x, lambda node, *inputs: node.operation.exactly(tensors, *inputs))
        return values[self.output]

    def intervals(self, tensors: Tensors, box: Box) -> dict[str, Box]:
        """Interval bounds of every node's output over the input box (IBP), by the name of the node."""
        return self.propagate(box, lambda node, *inputs: self._interval(tensors, node, *inputs))

    def _interval(self, tensors: Tensors, node: Node, *inputs: Box) -> Box:
        box = node.operation.interval(tensors, *inputs)
        scale = node.operation.rounding(tensors, inputs, box) if self.rigorous else None
        return box if scale is None else box.widened(self.error(scale))

    def error(self, scale: Tensor) -> Tensor:
        """A bound of rounding errors of this scale."""
        return self.gamma(scale.dtype) * limited(scale) + smallest(scale.dtype)

    def gamma(self, dtype: torch.dtype) -> float:
        """Largest relative error of a sum that evaluating or bounding the network takes, and of what follows it."""
        return gamma(self._terms, dtype)

    @cached_property
    def _terms(self) -> int:
        sizes = [self.input_shape.numel(), *(node.operation.output_shape.numel() for node in self.nodes)]
        return max(sizes) + EXTRA_TERMS + 4 * len(self.nodes)

    def rigorously(self) -> Self:
        """The same graph, whose bounds are proofs: they account for their own rounding errors."""
        return replace(self, rigorous=True)

    def exact_boxes(self, tensors: Tensors, box: Box) -> dict[str, Box]:
        """Boxes of the input and of the elementwise affine operations through which all else sees it.

        They are exact, but for rounding.
        """
        boxes, last = {INPUT: box}, INPUT
        for node in self.nodes:
            alone = sum(last in other.inputs for other in self.nodes) == 1
            if not (node.inputs == (last,) and alone and isinstance(node.operation, ElementwiseAffine)):
                break
            boxes[node.name] = self._interval(tensors, node, boxes[last])
            last = node.name
        return boxes

    def batch_statistics(self, tensors: Tensors, x: Tensor) -> dict[str, Tensor]:
        """Mean and biased variance that each BatchNorm sees when the batch ``x`` normalises itself.

        Put over ``tensors``, they make every later evaluation, attack or bound use the statistics of this batch. They
        are attached: gradients flow through them.

        Returns:
            The statistics under the names of the running ones, ``[C]`` each; nothing without BatchNorm.

        Raises:
            ConfigurationError: The batch gives a BatchNorm one value for each channel, which has no variance.
        """
        if len(x) < self.smallest_batch:
            raise ConfigurationError(
                "the network's BatchNorm has no variance of one value for each channel; it needs a batch of two images"
            )
        statistics: dict[str, Tensor] = {}

        def evaluate(node: Node, *inputs: Tensor) -> Tensor:
            if isinstance(node.operation, BatchNorm):
                statistics.update(node.operation.batch_statistics(inputs[0]))
            return node.operation.evaluate({**tensors, **statistics}, *inputs)

        if self.has_batch_norm:
            self.propagate(x, evaluate)
        return statistics

    def propagate(self, x: T, rule: Callable[..., T]) -> dict[str, T]:
        """Applies ``rule(node, *values of its inputs)`` from the input to the output; the values by node name."""
        values = {INPUT: x}
        for node in self.nodes:
            values[node.name] = rule(node, *(values[name] for name in node.inputs))
        return values

    def split(self, name: str) -> tuple["Graph", "Graph"]:
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
        """The node and all that it depends on, in the order of evaluation."""
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
        """Whether any node is a BatchNorm."""
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
