"""Conversion of an ONNX network to a graph."""

import torch
from torch import Tensor

import gls_lightning.interchange.onnx_operations  # noqa: F401  (fills CONVERTERS)
from gls_lightning.bounds import INPUT, Box, Graph, UnsupportedOperationError
from gls_lightning.bounds.operations import Reshape
from gls_lightning.interchange.onnx_call import CONVERTERS, GraphInProgress, OnnxCall
from gls_lightning.interchange.onnx_network import OnnxNetwork


def read_graph(network: OnnxNetwork) -> tuple[Graph, dict[str, Tensor]]:
    """Converts an ONNX network to a graph of primitive operations.

    Returns:
        The graph, whose output is a vector, and its tensors in float64.

    Raises:
        UnsupportedOperationError: An operation is not supported; the message says which, and where.
    """
    graph = GraphInProgress(network.values(), {network.input_name: INPUT}, {INPUT: network.input_shape})
    for node in network.proto.node:
        if not network.varying.isdisjoint(node.output):
            call = OnnxCall(node, graph)
            if node.op_type not in CONVERTERS:
                call.refuse()
            graph.sources[node.output[0]] = CONVERTERS[node.op_type](call)
    if network.output_name not in graph.sources:
        raise UnsupportedOperationError(f"the output of {network.path} does not depend on its input")
    output = graph.sources[network.output_name]
    shape = torch.Size([graph.shapes[output].numel()])
    if output == INPUT or graph.shapes[output] != shape:
        output = graph.append(network.output_name, Reshape, output, output_shape=shape)
    return Graph(Graph(tuple(graph.nodes), network.input_shape).ancestors(output), network.input_shape), graph.tensors


def compare(graph: Graph, tensors: dict[str, Tensor], network: OnnxNetwork, points: Tensor) -> None:
    """Evaluates graph and network at points ``[N, *input_shape]``, in float64.

    Raises:
        UnsupportedOperationError: They differ by more than a few times the possible rounding errors.
    """
    lower, upper = graph.rigorously().intervals(tensors, Box(points, points))[graph.output]
    theirs = torch.from_numpy(network.in_float64(points.numpy()))
    outside = torch.maximum(lower - theirs, theirs - upper)
    if not (lower.isfinite() & upper.isfinite() & theirs.isfinite()).all():
        raise UnsupportedOperationError(f"{network.path}: its numbers are too large for float64, or not finite")
    if (outside > _SLACK * (upper - lower)).any():
        raise UnsupportedOperationError(
            f"{network.path} differs by {(graph(tensors, points) - theirs).abs().max():.3g} from the operations that "
            "were read from it, beyond rounding: it has an operation that is not understood"
        )


_SLACK = 10
"""Allowed distance from the interval of rounding errors, in widths: the onnx package computes in another order."""
