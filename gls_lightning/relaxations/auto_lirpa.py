"""Bounds by auto_LiRPA."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from gls_lightning.arguments import require
from gls_lightning.bounds import Box, Graph, Node, OpaqueGraph, Tensors
from gls_lightning.bounds.operations import ElementwiseAffine
from gls_lightning.errors import ConfigurationError
from gls_lightning.private_names import of_torch
from gls_lightning.relaxations.relaxation import Relaxation

Method = Literal["IBP", "CROWN-IBP", "CROWN", "alpha-CROWN"]

_OLDEST = (0, 7)

_ACTIVATIONS = ("BoundRelu", "BoundLeakyRelu", "BoundSigmoid", "BoundTanh")


class AutoLiRPA(Relaxation):
    """Bounds by the library auto_LiRPA (Xu et al., 2020), also of networks with layers that are not supported here.

    Needs auto_LiRPA 0.7 or newer, installed from its source code; the package index has only version 0.3. The library
    traces the network anew for each call, about 0.1 seconds, and copies of the parameters are bounded one after the
    other. A network that is not supported here cannot contain BatchNorm in training.

    Args:
        method: The library's name of the bounds. ``CROWN`` is DeepPoly; ``alpha-CROWN`` has no gradients in the
            parameters.
        bound_opts: Options of the library's ``BoundedModule``.

    Raises:
        ConfigurationError: If auto_LiRPA is absent or too old, or ``method`` is unknown.
    """

    needs_graph = False
    capturable = False

    def __init__(self, *, method: Method = "CROWN", bound_opts: dict[str, Any] | None = None) -> None:
        require(method in get_args(Method), "method", method, f"one of {', '.join(get_args(Method))}")
        _require_library()
        self.method = method
        self.bound_opts = bound_opts or {}
        self.differentiable = method != "alpha-CROWN"

    @override
    def __call__(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> Tensor:
        return self._bound(graph, tensors, box, specification)[1]

    @override
    def preactivation_bounds(self, graph: Graph, tensors: Tensors, box: Box) -> dict[str, Box]:
        """See :meth:`Relaxation.preactivation_bounds`; without a graph, by the library's names."""
        every_logit = torch.eye(graph.num_outputs).to(box.lower).expand(len(box.lower), -1, -1)
        bounded, _ = self._bound(graph, tensors, box, every_logit)
        found = {name: node.inputs[0] for name, node in bounded.named_modules() if type(node).__name__ in _ACTIVATIONS}
        names = found if isinstance(graph, OpaqueGraph) else [node.name for node in graph.activations]
        return {name: Box(node.lower, node.upper) for name, node in zip(names, found.values(), strict=True)}

    def _bound(self, graph: Graph, tensors: Tensors, box: Box, specification: Tensor) -> tuple[nn.Module, Tensor]:
        """Returns the library's own form of the network, and the bounds."""
        library = import_module("auto_LiRPA")
        # The library optimises its slopes by autograd, and would otherwise change the gradients of the parameters.
        with_gradient = torch.is_grad_enabled() and self.differentiable
        with _default_dtype(box.lower.dtype), torch.set_grad_enabled(with_gradient or not self.differentiable):
            network, live = _as_module(graph, tensors)
            example = box.centre.detach()
            bounded = library.BoundedModule(network, example, bound_opts=dict(self.bound_opts), device=example.device)
            _use(bounded, live, with_gradient)
            perturbation = library.PerturbationLpNorm(norm=torch.inf, x_L=box.lower, x_U=box.upper)
            x = library.BoundedTensor(example, perturbation)
            lower, _ = bounded.compute_bounds(x=(x,), C=specification, method=self.method, bound_upper=False)
        return bounded, lower if with_gradient else lower.detach()


def _require_library() -> None:
    needed = "AutoLiRPA needs auto_LiRPA 0.7 or newer, to be installed from its source code (the package index has 0.3)"
    try:
        installed = version("auto_LiRPA")
    except PackageNotFoundError as error:
        raise ConfigurationError(f"{needed}; it is not installed") from error
    found = re.match(r"(\d+)\.(\d+)", installed)
    if found is None or tuple(map(int, found.groups())) < _OLDEST:
        raise ConfigurationError(f"{needed}; version {installed} is installed")


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Sets the default type, of which the library makes constants."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(previous)


class _GraphModule(nn.Module):
    """A graph with its tensors as parameters, which the library can trace."""

    def __init__(self, graph: Graph, tensors: Tensors) -> None:
        super().__init__()
        self.graph, self.tensors = graph, tensors
        for i, tensor in enumerate(tensors.values()):
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(f"tensor{i}", tensor)

    def forward(self, x: Tensor) -> Tensor:
        return self.graph.propagate(x, self._evaluate)[self.graph.output]

    def _evaluate(self, node: Node, *inputs: Tensor) -> Tensor:
        scale, shift = (self.tensors.get(f"{node.name}{part}") for part in (_SCALE, _SHIFT))
        if scale is None or shift is None:
            return node.operation.evaluate(self.tensors, *inputs)
        mean = torch.zeros(node.operation.output_shape[0], dtype=scale.dtype, device=scale.device)
        return F.batch_norm(inputs[0], mean, mean + 1, scale, shift, eps=0)


_SCALE, _SHIFT = ".scale of channels", ".shift of channels"


def _channelwise(graph: Graph, tensors: Tensors) -> dict[str, Tensor]:
    """Finds scale and shift of operations that act on each channel by itself; the library bounds BatchNorm best."""
    found = {}
    for node in graph.nodes:
        if isinstance(node.operation, ElementwiseAffine):
            scale, shift = node.operation.scale_and_shift(tensors)
            given = [value for value in (scale, shift) if value is not None]
            if given and all(value.numel() == value.shape[1] for value in given):
                size = node.operation.output_shape[:1]
                for part, value, default in ((_SCALE, scale, 1), (_SHIFT, shift, 0)):
                    value = given[0].new_full((1,), default) if value is None else value
                    found[node.name + part] = value.flatten().expand(size).contiguous()
    return found


def _as_module(graph: Graph, tensors: Tensors) -> tuple[nn.Module, dict[int, Tensor]]:
    """Writes the network as a module that can be traced; also returns the tensor of each parameter, by the id of it.

    The parameters are copies: the library writes into them, and results of other computations cannot be parameters.
    """
    constant: set[str] = set()
    if isinstance(graph, OpaqueGraph):  # buffers stay what they are, or the library would not know BatchNorm
        constant.update(name for name, _ in graph.network.named_buffers(remove_duplicate=False))
    else:
        tensors = {**tensors, **_channelwise(graph, tensors)}
    live = {id(t): t for name, t in tensors.items() if t.is_floating_point() and name not in constant}
    leaves = {key: nn.Parameter(tensor.detach().clone()) for key, tensor in live.items()}
    own = {name: leaves.get(id(tensor), tensor.detach()) for name, tensor in tensors.items()}
    network = graph.module(own) if isinstance(graph, OpaqueGraph) else _GraphModule(graph, own).eval()
    return network, {id(leaf): live[key] for key, leaf in leaves.items()}


def _use(bounded: nn.Module, live: Mapping[int, Tensor], with_gradient: bool) -> None:
    """Puts the tensors in the place of the parameters that the library took from the module."""
    bounded.eval()
    for node in bounded.modules():
        for name, parameter in of_torch.parameters_of(node):
            tensor = live[id(parameter)]
            # The library switches gradients on in training and off otherwise, and may write into what it finds.
            node.training = with_gradient
            of_torch.put_parameter(node, name, tensor.clone() if with_gradient else tensor.detach().clone())
