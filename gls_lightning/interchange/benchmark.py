"""A directory with a network and its robustness properties, for the tools of VNN-COMP."""

import copy
from pathlib import Path

import torch
from torch import nn

from gls_lightning.arguments import Radius, read_radius, require
from gls_lightning.batches import LabelledImages
from gls_lightning.bounds import Box
from gls_lightning.errors import ConfigurationError
from gls_lightning.interchange.counterexample import decimal
from gls_lightning.interchange.onnx_export import write_onnx
from gls_lightning.interchange.robustness_property import robustness_property
from gls_lightning.run_files import write_whole
from gls_lightning.weights import as_safetensors


def write_benchmark(
    network: nn.Module, samples: LabelledImages, directory: Path, *, epsilon: Radius, timeout: float
) -> None:
    """Writes ``network.onnx``, ``network.safetensors``, ``vnnlib/image_<number>.vnnlib`` and ``instances.csv``.

    Args:
        network: Maps images in [0, 1] to logits; stays as it is.
        samples: The images whose l-infinity balls, clipped to [0, 1], the properties are about. Their indices number
            the files.
        directory: The directory; made if missing. Older files of these names are removed first.
        epsilon: Radius of the balls.
        timeout: Seconds for each property, written to ``instances.csv``.

    Raises:
        ConfigurationError: ``epsilon`` or ``timeout`` is out of range, or the network cannot be exported or has too few
            outputs.
        ContradictionError: The ONNX file computes something else than the network.
    """
    epsilon = read_radius(epsilon)
    require(timeout > 0, "timeout", timeout, "positive")
    _require_outputs(network, samples)
    (directory / "vnnlib").mkdir(parents=True, exist_ok=True)
    for old in (directory / "instances.csv", *directory.glob("vnnlib/image_*.vnnlib")):
        old.unlink(missing_ok=True)
    num_classes = write_onnx(network, samples.images.shape[1:], directory / "network.onnx")
    weights = as_safetensors(network.state_dict())
    write_whole(directory / "network.safetensors", lambda path: path.write_bytes(weights))
    instances = []
    numbers = range(len(samples.labels)) if samples.indices is None else samples.indices.tolist()
    for image, label, number in zip(samples.images, samples.labels.tolist(), numbers, strict=True):
        name = f"vnnlib/image_{number}.vnnlib"
        about = f"Image {number}, label {label}, epsilon {decimal(epsilon)}"
        box = Box.around(image.double()[None], epsilon)
        _write_text(directory / name, robustness_property(box, label, num_classes, about))
        instances.append(f"network.onnx,{name},{decimal(timeout)}\n")
    _write_text(directory / "instances.csv", "".join(instances))


@torch.no_grad()
def _require_outputs(network: nn.Module, samples: LabelledImages) -> None:
    image = samples.images[:1].float()
    number = copy.deepcopy(network).cpu().float().eval()(image).shape[-1]
    if (largest := int(samples.labels.max())) >= number:
        raise ConfigurationError(
            f"the network has {number} outputs, but an image has the label {largest}; labels are counted from 0"
        )


def _write_text(path: Path, text: str) -> None:
    write_whole(path, lambda draft: draft.write_text(text))
