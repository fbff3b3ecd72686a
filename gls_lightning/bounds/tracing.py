"""From a module to a graph."""

import copy
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from gls_lightning.bounds.graph import INPUT, Graph, Node
from gls_lightning.bounds.operations import (
    Addition,
    AveragePooling,
    BatchNorm,
    ConstantAffine,
    Convolution,
    Identity,
    Linear,
    Operation,
    ReLU,
    Reshape,
)
from gls_lightning.bounds.windows import Pair
from gls_lightning.errors import ConfigurationError


class UnsupportedOperationError(ConfigurationError):
    """A network contains what cannot be bounded."""


def trace(network: nn.Module, input_shape: Sequence[int]) -> Graph:
    """Writes a network as a graph of primitive operations. The network itself is neither changed nor kept.

    Args:
        network: Any module that maps images ``[B, *input_shape]`` to logits ``[B, K]`` by supported operations.
        input_shape: Shape of an input without the batch.

    Returns:
        The graph; its operations find their parameters by the names in ``network.state_dict()``.

    Raises:
        UnsupportedOperationError: If the network contains an operation that is not supported, or computes its own
            structure from values; the message says which, and where.
    """
    network = copy.deepcopy(network).eval()
    try:
        traced = fx.GraphModule(network, _Tracer().trace(network))
    except (fx.proxy.TraceError, TypeError) as error:
        message = f"the forward of {type(network).__name__} cannot be traced: {error}"
        raise UnsupportedOperationError(message) from error
    builder = _GraphBuilder(traced)
    some = next((t for t in network.state_dict().values() if t.is_floating_point()), torch.zeros(()))
    try:
        with torch.no_grad():
            builder.run(some.new_zeros(_BATCH, *input_shape))
    except RuntimeError as error:
        message = f"{type(network).__name__} does not take inputs of shape {tuple(input_shape)}: {error}"
        raise UnsupportedOperationError(message) from error
    nodes = Graph(tuple(builder.nodes), torch.Size(input_shape)).ancestors(builder.output_name)
    return Graph(nodes, torch.Size(input_shape))


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True  # or reshaped buffers become constants without a name


_BATCH = 2
"""Samples in the example that gives the shapes."""


@dataclass(frozen=True)
class _Call:
    """One call in the traced network."""

    place: str
    what: str
    module: nn.Module | None
    target: str
    sources: tuple[str, ...]
    operands: tuple[Any, ...]
    options: dict[str, Any]
    input_shapes: tuple[torch.Size, ...]
    output_shape: torch.Size

    def make(self, kind: type[Operation], **fields: Any) -> Operation:
        return kind(input_shapes=self.input_shapes, output_shape=self.output_shape, **fields)

    def refuse(self, why: str = "") -> NoReturn:
        supported = ", ".join(sorted({_name(key) for key in _BUILDERS}))
        reason = f": {why}" if why else ""
        raise UnsupportedOperationError(
            f"operation {self.what} at {self.place!r} of the network cannot be bounded{reason} (supported: {supported})"
        )


@dataclass(frozen=True)
class _Constant:
    """A parameter or buffer that the traced code uses by itself, in the shape in which it uses it."""

    name: str
    shape: torch.Size


class _GraphBuilder(fx.Interpreter):
    """Runs the traced network on an example, which gives all shapes, and writes down what acts on the input."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.nodes: list[Node] = []
        self.output_name = ""
        self._names: dict[fx.Node, str] = {}
        self._constants: dict[fx.Node, _Constant] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
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
        call = _Call(
            place=place,
            what=_name(key),
            module=module,
            target=str(n.target),
            sources=tuple(self._names[source] for source in sources),
            operands=tuple(self._operand(a) for a in n.args),
            options={k: self._operand(v) for k, v in n.kwargs.items()},
            input_shapes=tuple(self.env[source].shape[1:] for source in sources),
            output_shape=value.shape[1:],
        )
        if key not in _BUILDERS:
            call.refuse()
        if value.shape[0] != _BATCH:
            call.refuse("it mixes the samples of a batch")
        self.nodes.append(Node(name, _BUILDERS[key](call), call.sources))
        self._names[n] = name

    def _operand(self, argument: Any) -> Any:
        """A traced value as its name in brackets, a parameter as a constant, and anything else as it is."""
        if not isinstance(argument, fx.Node):
            return argument
        if argument in self._names:
            return _TRACED
        return self._constants.get(argument, self.env[argument])

    def _remember_constant(self, n: fx.Node, value: Tensor) -> None:
        if n.op == "get_attr":
            self._constants[n] = _Constant(str(n.target), value.shape)
            return
        for source in n.all_input_nodes:
            if source in self._constants and torch.equal(value.flatten(), self.env[source].flatten()):
                self._constants[n] = _Constant(self._constants[source].name, value.shape)

    def _finish(self, n: fx.Node) -> None:
        result = n.args[0]
        if not isinstance(result, fx.Node) or self._names.get(result, INPUT) == INPUT or self.env[result].ndim != 2:
            raise UnsupportedOperationError("the network must return one tensor of logits [B, K]")
        self.output_name = self._names[result]


_TRACED = object()
"""Stands for an operand that depends on the input."""


def _convolution(call: _Call) -> Operation:
    conv = call.module
    assert isinstance(conv, nn.Conv2d)
    if conv.padding_mode != "zeros":
        call.refuse(f"padding_mode is {conv.padding_mode!r}, not 'zeros'")
    return call.make(
        Convolution,
        weight=f"{call.target}.weight",
        bias=None if conv.bias is None else f"{call.target}.bias",
        kernel_size=_pair(conv.kernel_size),
        stride=_pair(conv.stride),
        padding=_padding(call, conv),
        dilation=_pair(conv.dilation),
        groups=conv.groups,
    )


def _padding(call: _Call, conv: nn.Conv2d) -> Pair:
    if conv.padding == "valid":
        return 0, 0
    if conv.padding != "same":
        return _pair(conv.padding)
    total = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    if total[0] % 2 or total[1] % 2:
        call.refuse("padding='same' of an even kernel is not the same on both sides")
    return total[0] // 2, total[1] // 2


def _linear(call: _Call) -> Operation:
    linear = call.module
    assert isinstance(linear, nn.Linear)
    if len(call.input_shapes[0]) != 1:
        call.refuse(f"its input has the shape {tuple(call.input_shapes[0])}; flatten it first")
    bias = None if linear.bias is None else f"{call.target}.bias"
    return call.make(Linear, weight=f"{call.target}.weight", bias=bias)


def _batch_norm(call: _Call) -> Operation:
    norm = call.module
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    if norm.running_mean is None:
        call.refuse("it keeps no running statistics")
    return call.make(
        BatchNorm,
        weight=f"{call.target}.weight" if norm.affine else None,
        bias=f"{call.target}.bias" if norm.affine else None,
        mean=f"{call.target}.running_mean",
        variance=f"{call.target}.running_var",
        eps=norm.eps,
    )


def _average_pooling(call: _Call) -> Operation:
    pool = call.module
    assert isinstance(pool, nn.AvgPool2d)
    if pool.ceil_mode or pool.divisor_override or (_pair(pool.padding) != (0, 0) and not pool.count_include_pad):
        call.refuse("ceil_mode, divisor_override and count_include_pad=False are not supported")
    return _pooling(call, _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding))


def _adaptive_average_pooling(call: _Call) -> Operation:
    (_, *sizes), (_, *outputs) = call.input_shapes[0], call.output_shape
    if any(size % output for size, output in zip(sizes, outputs, strict=True)):
        call.refuse(f"the output size {tuple(outputs)} does not divide the input size {tuple(sizes)}")
    kernel = sizes[0] // outputs[0], sizes[1] // outputs[1]
    return _pooling(call, kernel, kernel, (0, 0))


def _pooling(call: _Call, kernel: Pair, stride: Pair, padding: Pair) -> Operation:
    groups = call.input_shapes[0][0]
    return call.make(AveragePooling, kernel_size=kernel, stride=stride, padding=padding, dilation=(1, 1), groups=groups)


def _dropout(call: _Call) -> Operation:
    return call.make(Identity, dropout=float(getattr(call.module, "p", 0.0)))


def _arithmetic(name: str) -> Callable[[_Call], Operation]:
    def build(call: _Call) -> Operation:
        if call.options or len(call.operands) != 2:
            call.refuse("only with two operands")
        if len(call.sources) == 2:
            if name != "add" or call.input_shapes[0] != call.input_shapes[1]:
                call.refuse("of two values that depend on the input, only the sum of equal shapes")
            return call.make(Addition)
        first_is_constant = call.operands[1] is _TRACED
        constant = call.operands[0 if first_is_constant else 1]
        if first_is_constant and name == "div":
            call.refuse("division by a value that depends on the input")
        operator_name = "rsub" if first_is_constant and name == "sub" else name
        return _constant_affine(call, operator_name, constant)

    return build


def _constant_affine(call: _Call, operator_name: str, constant: Any) -> Operation:
    if call.output_shape != call.input_shapes[0]:
        call.refuse("the constant changes the shape")
    if isinstance(constant, _Constant):
        return call.make(ConstantAffine, operator=operator_name, constant=constant.name, shape=constant.shape)
    if not isinstance(constant, int | float):
        call.refuse("the constant must be a number, a parameter or a buffer")
    return call.make(ConstantAffine, operator=operator_name, constant=float(constant), shape=torch.Size())


def _make(kind: type[Operation]) -> Callable[[_Call], Operation]:
    return lambda call: call.make(kind)


def _pair(value: Any) -> Pair:
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


def _name(key: Any) -> str:
    return key if isinstance(key, str) else str(getattr(key, "__name__", key))


_BUILDERS: dict[Any, Callable[[_Call], Operation]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.AvgPool2d: _average_pooling,
    nn.AdaptiveAvgPool2d: _adaptive_average_pooling,
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.Dropout2d, F.dropout), _dropout),
    **dict.fromkeys((nn.Identity, "contiguous"), _make(Identity)),
    **dict.fromkeys((nn.ReLU, F.relu, torch.relu, "relu"), _make(ReLU)),
    **dict.fromkeys((nn.Flatten, nn.Unflatten, torch.flatten, "flatten", "view", "reshape"), _make(Reshape)),
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add"), _arithmetic("add")),
    **dict.fromkeys((operator.sub, torch.sub, "sub"), _arithmetic("sub")),
    **dict.fromkeys((operator.mul, torch.mul, "mul"), _arithmetic("mul")),
    **dict.fromkeys((operator.truediv, torch.div, "div"), _arithmetic("div")),
}
