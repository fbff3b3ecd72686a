"""From an ONNX network to a graph."""

import numpy as np
import onnx
import torch
from torch import Tensor

from gls_lightning.bounds import Graph, UnsupportedOperationError
from gls_lightning.bounds.graph import INPUT
from gls_lightning.bounds.operations import Reshape
from gls_lightning.interchange import onnx_operations as onnx_operations  # known once they are imported
from gls_lightning.interchange.onnx_call import CONVERTERS, GraphInProgress, OnnxCall
from gls_lightning.interchange.onnx_network import OnnxNetwork


def read_graph(network: OnnxNetwork) -> tuple[Graph, dict[str, Tensor]]:
    """Writes an ONNX network as a graph of primitive operations.

    Returns:
        The graph, whose output is a vector, and its tensors in float64.

    Raises:
        UnsupportedOperationError: The network has an operation that is not supported; the message says which, and
            where.
    """
    graph = GraphInProgress(network.values(), {network.input_name: INPUT}, {INPUT: network.input_shape})
    for node in network.proto.node:
        if _depends_on_input(node, graph):
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


def _depends_on_input(node: onnx.NodeProto, graph: GraphInProgress) -> bool:
    """Whether a node's output varies; that of a part of the network inside a node may."""
    parts = any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute)
    return parts or (node.op_type != "Shape" and any(name in graph.sources for name in node.input))


def compare(graph: Graph, tensors: dict[str, Tensor], network: OnnxNetwork, points: Tensor) -> None:
    """Evaluates graph and network at points ``[N, *input_shape]``, float64.

    Raises:
        UnsupportedOperationError: They differ.
    """
    ours, theirs = graph(tensors, points).numpy(), network(points.numpy())
    difference = np.abs(ours - theirs).max()
    if not difference <= 1e-6 + 1e-3 * np.abs(theirs).max():
        raise UnsupportedOperationError(
            f"{network.path} differs by {difference:.3g} from the operations that were read from it, beyond "
            "rounding: it has an operation that is not understood, or its numbers are not finite"
        )
