"""Export of a network to an ONNX file."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from gls_lightning.errors import ConfigurationError, ContradictionError
from gls_lightning.interchange.onnx_network import OnnxNetwork
from gls_lightning.randomness import keyed_generator
from gls_lightning.run_files import write_whole

_OPSET = 18
"""The oldest version of ONNX's operations that PyTorch exports without conversion; old tools know no newer ones."""


@torch.no_grad()
def write_onnx(network: nn.Module, input_shape: Sequence[int], path: Path) -> int:
    """Writes a network in float32, with a first dimension of any size.

    BatchNorm behind a convolution becomes part of it. Then the onnx package evaluates the file at random images, and
    the results must agree with the network.

    Args:
        network: Maps images ``[B, *input_shape]`` in [0, 1] to logits ``[B, K]``; stays as it is.
        input_shape: Shape of an image.
        path: The file; an existing one is replaced.

    Returns:
        K, the number of logits.

    Raises:
        ConfigurationError: PyTorch cannot export the network.
        ContradictionError: The file computes something else than the network, by more than float32's rounding.
    """
    network = copy.deepcopy(network).cpu().float().eval()
    images = torch.rand(4, *input_shape, generator=keyed_generator("images for ONNX"))

    def write(draft: Path) -> None:
        draft.write_bytes(_export(network, images).SerializeToString())
        _check(network, images, OnnxNetwork(draft))

    write_whole(path, write)
    return len(network(images[:1])[0])


def _export(network: nn.Module, images: torch.Tensor) -> onnx.ModelProto:
    try:
        program = torch.onnx.export(
            network,
            (images,),
            dynamo=True,
            input_names=["X"],
            output_names=["Y"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=_OPSET,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__).partition("\n")[0]
        raise ConfigurationError(f"PyTorch cannot export {type(network).__name__}: {reason}") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ConfigurationError(f"{type(network).__name__} cannot be exported: it takes batches of one size only")
    _strip(model)
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Removes notes for debugging, which contain paths of source files."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]


def _check(network: nn.Module, images: torch.Tensor, exported: OnnxNetwork) -> None:
    ours, theirs = network(images).numpy(), exported(images.numpy())
    difference = np.abs(ours - theirs).max()
    if not difference <= 1e-6 + 1e-4 * np.abs(ours).max():
        raise ContradictionError(
            f"the exported network differs from the network itself by {difference:.3g} at an image, which is more than "
            "rounding: the export is wrong, or the network's numbers are not finite"
        )
