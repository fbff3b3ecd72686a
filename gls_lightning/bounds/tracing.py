"""The way from a module to a graph."""

import copy
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from gls_lightning.bounds.graph import Graph
from gls_lightning.bounds.graph_structure import INPUT, Node
from gls_lightning.bounds.operations import (
    BUILDERS,
    TRACED,
    Call,
    Constant,
    FixedTensor,
    UnsupportedOperationError,
    name_of,
)


def trace(network: nn.Module, input_shape: Sequence[int]) -> Graph:
    """Writes a network as a graph of primitive operations. The network itself is neither changed nor kept.

    Args:
        network: Any module that maps images ``[B, *input_shape]`` to logits ``[B, K]`` by supported operations.
        input_shape: Shape of an input without the batch.

    Returns:
        The graph; its operations find their parameters by the names in ``network.state_dict()``. Other tensors that
        the network computes with, such as attributes that are no buffers, are constants of the graph.

    Raises:
        UnsupportedOperationError: If the network contains an operation that is not supported, or computes its own
            structure from values; the message says which, and where.

    Example:
        >>> graph = trace(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (1, 2, 2))
        >>> [node.name for node in graph.nodes]
        ['0', '1', '2', '3']
        >>> graph.relus
        ('2',)
    """
    _require_own_tensors(network)
    try:
        network = copy.deepcopy(network).eval()
        traced = fx.GraphModule(network, _Tracer().trace(network))
    except (fx.proxy.TraceError, TypeError, ValueError, NameError, RuntimeError) as error:
        message = f"the forward of {type(network).__name__} cannot be traced: {error}"
        raise UnsupportedOperationError(message) from error
    builder = _GraphBuilder(traced, network.state_dict().keys())
    some = next((t for t in network.state_dict().values() if t.is_floating_point()), torch.zeros(()))
    try:
        with torch.no_grad():
            builder.run(some.new_zeros(_BATCH, *input_shape))
    except RuntimeError as error:
        message = f"{type(network).__name__} does not take inputs of shape {tuple(input_shape)}: {error}"
        raise UnsupportedOperationError(message) from error
    nodes = Graph(tuple(builder.nodes), torch.Size(input_shape)).ancestors(builder.output_name)
    graph = Graph(nodes, torch.Size(input_shape))
    _compare(graph, network.double())
    return graph


@torch.no_grad()
def _compare(graph: Graph, network: nn.Module) -> None:
    """Evaluates both once: what acts outside of the traced calls, such as hooks, would make bounds wrong."""
    some = next(iter(network.state_dict().values()), torch.zeros(()))
    batch = _BATCH + 1  # not that of the example, which constants may have taken
    size = batch * graph.input_shape.numel()
    x = torch.linspace(0, 1, size, dtype=torch.float64, device=some.device).view(batch, *graph.input_shape)
    try:
        same = torch.allclose(graph(network.state_dict(), x), network(x), rtol=1e-4, atol=1e-6, equal_nan=True)
    except RuntimeError as error:
        raise UnsupportedOperationError(
            f"{type(network).__name__} takes no batch of {batch} images: {error}"
        ) from error
    if not same:
        raise UnsupportedOperationError(
            f"{type(network).__name__} computes something else than its traced operations; hooks, random numbers, and "
            "dropout that is active in evaluation are not supported"
        )


def _require_own_tensors(network: nn.Module) -> None:
    """Refuses attributes that gradients flow through, such as the weights that ``weight_norm`` computes beforehand."""
    for place, module in network.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                where = f"{place}.{name}" if place else name
                raise UnsupportedOperationError(
                    f"{where} of the network is a tensor that was computed from parameters outside of forward; it must "
                    "be a parameter, a buffer or a constant"
                )


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True  # or reshaped buffers become constants without a name

    def create_arg(self, a: Any) -> Any:
        """Takes NumPy's arrays and numbers as PyTorch does."""
        if isinstance(a, np.ndarray):
            a = torch.from_numpy(a)
        return super().create_arg(a.item() if isinstance(a, np.generic) else a)


_BATCH = 2
"""Samples in the example that gives the shapes."""


class _GraphBuilder(fx.Interpreter):
    """Runs the traced network on an example, which gives all shapes, and writes down what acts on the input."""

    def __init__(self, module: fx.GraphModule, state: Collection[str]) -> None:
        super().__init__(module)
        self.extra_traceback = False  # errors are for users, who know nothing of this tracing
        self.state = state
        self.nodes: list[Node] = []
        self.output_name = ""
        self._names: dict[fx.Node, str] = {}
        self._constants: dict[fx.Node, Constant] = {}
        self._of_state: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if (n.op == "get_attr" and n.target in self.state) or not self._of_state.isdisjoint(n.all_input_nodes):
            self._of_state.add(n)
        if n.op == "placeholder":
            self._names[n] = INPUT
        elif n.op == "output":
            self._finish(n)
        elif isinstance(value, Tensor) and any(source in self._names for source in n.all_input_nodes):
            self._append(n, value)
        elif isinstance(value, Tensor):
            self._remember_constant(n, value)
        return value

    def _append(self, n: fx.Node, value: Tensor) -> None:
        module = self.module.get_submodule(str(n.target)) if n.op == "call_module" else None
        place = str(n.target) if module is not None else n.name
        name = place if place not in {node.name for node in self.nodes} else n.name
        key = type(module) if module is not None else n.target
        sources = tuple(a for a in n.args if isinstance(a, fx.Node) and a in self._names)
        hidden = {source for source in n.all_input_nodes if source in self._names} - set(sources)
        call = Call(
            place=place,
            what=name_of(key),
            module=module,
            operands=tuple(self._operand(a) for a in n.args),
            options={k: self._operand(v) for k, v in n.kwargs.items()},
            input_shapes=tuple(self.env[source].shape[1:] for source in sources),
            output_shape=value.shape[1:],
        )
        if key not in BUILDERS:
            call.refuse()
        if hidden:
            call.refuse("give it its input by position")
        if value.shape[0] != _BATCH:
            call.refuse("it mixes the samples of a batch")
        self.nodes.append(Node(name, BUILDERS[key](call), tuple(self._names[source] for source in sources)))
        self._names[n] = name

    def _operand(self, argument: Any) -> Any:
        """Returns ``TRACED`` for what depends on the input, a constant for a parameter, and anything else as it is."""
        if not isinstance(argument, fx.Node):
            return argument
        if argument in self._names:
            return TRACED
        if argument in self._of_state and isinstance(self.env[argument], float):
            return None  # a number that changes with the parameters
        return self._constants.get(argument, self.env[argument])

    def _remember_constant(self, n: fx.Node, value: Tensor) -> None:
        name = str(n.target)
        if n.op == "get_attr" and name in self.state:
            self._constants[n] = Constant(name, value.shape)
            return
        for source in n.all_input_nodes:
            if source in self._constants and torch.equal(value.flatten(), self.env[source].flatten()):
                self._constants[n] = Constant(self._constants[source].source, value.shape)
                return
        if n not in self._of_state:
            fixed = FixedTensor(value, name if n.op == "get_attr" else None)
            self._constants[n] = Constant(fixed, value.shape)

    def _finish(self, n: fx.Node) -> None:
        result = n.args[0]
        if not isinstance(result, fx.Node) or self._names.get(result, INPUT) == INPUT or self.env[result].ndim != 2:
            raise UnsupportedOperationError("the network must return one tensor of logits [B, K]")
        if self.env[result].shape[1] < 2:
            raise UnsupportedOperationError("the network has one output; classification needs two logits or more")
        self.output_name = self._names[result]
