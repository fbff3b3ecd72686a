"""A network as a graph of primitive operations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self, TypeVar

import torch
from torch import Tensor

from gls_lightning.bounds.box import Box
from gls_lightning.bounds.graph_structure import INPUT, GraphStructure, Node
from gls_lightning.bounds.operations import BatchNorm, ElementwiseAffine, Tensors
from gls_lightning.bounds.rational import Rationals
from gls_lightning.bounds.rounding import EXTRA_TERMS, gamma, limited, smallest
from gls_lightning.errors import ConfigurationError

T = TypeVar("T")


@dataclass(frozen=True)
class Graph(GraphStructure):
    """A network of supported operations, in an order in which they can be evaluated. Holds no tensors.

    Attributes:
        nodes: The operations; the last one gives the network's output.
        input_shape: Shape of the input without the batch.
        rigorous: Whether bounds give away what their own rounding may amount to (see ``rounding.py``), as proofs must.
    """

    rigorous: bool = field(default=False, repr=False)

    def __call__(self, tensors: Tensors, x: Tensor) -> Tensor:
        """Evaluates the network at ``x [B, *input_shape]``. BatchNorm takes its statistics from ``tensors``."""
        return self.propagate(x, lambda node, *inputs: node.operation.evaluate(tensors, *inputs))[self.output]

    def exactly(self, tensors: Tensors, x: Rationals) -> Rationals:
        """Evaluates the network at one input ``x [*input_shape]`` without any rounding: ``[*output_shape]``.

        Meant for small networks: a second takes some 10^7 products.

        Raises:
            NotRationalError: An operation, such as a sigmoid or BatchNorm, does not keep to rational numbers.
        """
        values = self.propagate(x, lambda node, *inputs: node.operation.exactly(tensors, *inputs))
        return values[self.output]

    def intervals(
        self, tensors: Tensors, box: Box, known: Mapping[str, Box] | None = None, *, last_layer: bool = True
    ) -> dict[str, Box]:
        """Bounds every node's output over the input box by intervals (IBP).

        Args:
            tensors: Parameters and buffers.
            box: The inputs.
            known: Boxes that need not be found again, by the name of the node.
            last_layer: Whether to bound the nodes in ``last_layer``, with which a specification can be merged.

        Returns:
            The boxes by the name of the node, that of the input included.
        """
        without = () if last_layer else self.last_layer
        boxes = {name: node_box for name, node_box in (known or {}).items() if name not in without} | {INPUT: box}
        for node in self.nodes:
            if node.name not in boxes and node.name not in without:
                boxes[node.name] = self._interval(tensors, node, *(boxes[name] for name in node.inputs))
        return boxes

    def _interval(self, tensors: Tensors, node: Node, *inputs: Box) -> Box:
        box = node.operation.interval(tensors, *inputs)
        scale = node.operation.rounding(tensors, inputs, box) if self.rigorous else None
        return box if scale is None else box.widened(self.error(scale))

    def error(self, scale: Tensor) -> Tensor:
        """Bounds rounding errors of this scale."""
        return self.gamma(scale.dtype) * limited(scale) + smallest(scale.dtype)

    def gamma(self, dtype: torch.dtype) -> float:
        """Bounds the relative error of any sum in evaluating or bounding the network, and of what follows it."""
        return gamma(self._terms, dtype)

    @cached_property
    def _terms(self) -> int:
        sizes = [self.input_shape.numel(), *(node.operation.output_shape.numel() for node in self.nodes)]
        return max(sizes) + EXTRA_TERMS + 4 * len(self.nodes)

    def rigorously(self) -> Self:
        """Returns the same graph with bounds that are proofs: they account for their own rounding errors."""
        return replace(self, rigorous=True)

    def exact_boxes(self, tensors: Tensors, known: Mapping[str, Box]) -> dict[str, Box]:
        """Returns the boxes of the input and of the elementwise affine operations through which all else sees it.

        They are exact, but for rounding.

        Args:
            tensors: Parameters and buffers.
            known: Boxes that need not be found again, by the name of the node; that of the input at least.
        """
        boxes, last = {INPUT: known[INPUT]}, INPUT
        for node in self.nodes:
            alone = sum(last in other.inputs for other in self.nodes) == 1
            if not (node.inputs == (last,) and alone and isinstance(node.operation, ElementwiseAffine)):
                break
            boxes[node.name] = known[node.name] if node.name in known else self._interval(tensors, node, boxes[last])
            last = node.name
        return boxes

    def batch_statistics(self, tensors: Tensors, x: Tensor) -> dict[str, Tensor]:
        """Computes the mean and biased variance that each BatchNorm sees when the batch ``x`` normalises itself.

        Put over ``tensors``, they make every later evaluation, attack or bound use the statistics of this batch. They
        are attached: gradients flow through them.

        Returns:
            The statistics under the names of the running ones, ``[C]`` each; nothing without BatchNorm.

        Raises:
            ConfigurationError: The batch gives a BatchNorm one value for each channel, which has no variance.
        """
        return self.normalised_by_batch(tensors, x)[0] if self.has_batch_norm else {}

    def normalised_by_batch(self, tensors: Tensors, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Computes the logits ``[B, K]`` of a batch that normalises itself, too; see :meth:`batch_statistics`."""
        if len(x) < self.smallest_batch:
            raise ConfigurationError(
                "the network's BatchNorm has no variance of one value for each channel; it needs a batch of two images"
            )
        statistics: dict[str, Tensor] = {}

        def evaluate(node: Node, *inputs: Tensor) -> Tensor:
            if isinstance(node.operation, BatchNorm):
                statistics.update(node.operation.batch_statistics(inputs[0]))
            return node.operation.evaluate({**tensors, **statistics}, *inputs)

        return statistics, self.propagate(x, evaluate)[self.output]

    def propagate(self, x: T, rule: Callable[..., T]) -> dict[str, T]:
        """Applies ``rule(node, *values of its inputs)`` from the input to the output; the values by node name."""
        values = {INPUT: x}
        for node in self.nodes:
            values[node.name] = rule(node, *(values[name] for name in node.inputs))
        return values
