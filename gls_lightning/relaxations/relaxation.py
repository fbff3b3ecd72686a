"""The interface of every relaxation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gls_lightning.bounds import INPUT, Box, Graph, Tensors, margin_specification
from gls_lightning.relaxations.memory import MemoryBudget


class Relaxation(ABC):
    """Sound lower bounds of linear functions of the logits over a box.

    A relaxation is a pure function of tensors. A subclass defines ``__call__`` and ``preactivation_bounds``, and sets
    those of the attributes below whose defaults do not hold.

    Attributes:
        differentiable: Whether the bounds have useful gradients with respect to the parameters.
        vectorisable: Whether the bounds work under ``torch.func.vmap`` over the parameters.
        sound: Whether the bounds hold for every point of the box; certification refuses relaxations that say no.
        needs_graph: Whether the bounds need the network's operations; if not, any network will do, and the graph of one
            with unsupported layers is a :class:`gls_lightning.bounds.OpaqueGraph`.
        capturable: Whether the bounds are made of tensor operations alone, so that a GPU can record them.
        memory_budget: GiB that bounds should take; ``auto`` is 0.4 of the memory of a GPU, and 4 on a CPU. By default a
            population has as many members at once as fit.
    """

    differentiable: bool = True
    vectorisable: bool = False
    sound: bool = True
    needs_graph: bool = True
    capturable: bool = True
    memory_budget: MemoryBudget = "auto"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A class that bounds in its own way must not inherit shortcuts that pass by it.
        for shortcut in ("margins", "given_intervals"):
            if "__call__" in vars(cls) and shortcut not in vars(cls):
                setattr(cls, shortcut, getattr(Relaxation, shortcut))

    @abstractmethod
    def __call__(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> Tensor:
        """Bounds linear functions of the logits from below.

        Args:
            graph: The network.
            tensors: Its parameters and buffers; BatchNorm takes mean and variance from them.
            box: The inputs, each side ``[B, *input_shape]``.
            specification: The functions, ``[B, S, K]``: ``S`` for each sample, with a coefficient for each of the ``K``
                logits.

        Returns:
            The lower bounds, ``[B, S]``.
        """

    def margins(self, graph: Graph, tensors: Tensors, box: Box, labels: Tensor) -> Tensor:
        """Bounds the margins of the labels ``[B]`` from below, ``[B, K - 1]``.

        They are the functions of :func:`gls_lightning.bounds.margin_specification`, for which some relaxations have a
        faster way.
        """
        return self(graph, tensors, box, margin_specification(labels, graph.num_outputs, box.lower.dtype))

    def given_intervals(
        self, graph: Graph, tensors: Tensors, intervals: Mapping[str, Box], specification: Tensor
    ) -> Tensor:
        """Bounds the same functions for a caller that knows boxes from :meth:`Graph.intervals`, that of the input too.

        Relaxations that need intervals themselves then do not find them again. By default only the input's box is used.
        """
        return self(graph, tensors, intervals[INPUT], specification)

    @abstractmethod
    def preactivation_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
        """Bounds the input of every activation.

        Args:
            graph: The network.
            tensors: Its parameters and buffers.
            box: The inputs of the network, each side ``[B, *input_shape]``.

        Returns:
            The bounds, each side ``[B, *shape]``, by the name of the activation's node.
        """

    def activation_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> Box:
        """Bounds the output of a network that ends with an activation, each side ``[B, *shape]``."""
        last = graph.by_name[graph.output]
        return last.operation.interval(tensors, self.preactivation_bounds(graph, tensors, box)[last.name])

    def coefficients(self, graph: Graph, tensors: Tensors, rows: int) -> int:
        """Estimates how many numbers bounding ``rows`` functions of one sample takes, for plans of the use of memory.

        By default as many as evaluating it.
        """
        return graph.size
