"""A directory with a network and its robustness properties, for the tools of VNN-COMP."""

import copy
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gls_lightning.arguments import Radius, read_radius, require
from gls_lightning.batches import read_batch, require_values
from gls_lightning.bounds import Box
from gls_lightning.errors import ConfigurationError
from gls_lightning.interchange.counterexample import decimal
from gls_lightning.interchange.onnx_export import write_onnx
from gls_lightning.interchange.robustness_property import robustness_property
from gls_lightning.run_files import write_whole
from gls_lightning.weights import as_safetensors


class Sample(NamedTuple):
    """A labelled image.

    Attributes:
        number: Its position in the test set.
        image: In [0, 1], ``[*input]``.
        label: Its class.
    """

    number: int
    image: Tensor
    label: int


def read_samples(data: LightningDataModule, start: int, number: int) -> list[Sample]:
    """Test images.

    Args:
        data: Where they come from.
        start: Position of the first one.
        number: How many; all that follow where there are fewer.

    Raises:
        ConfigurationError: A number is out of range, or a batch holds no labelled images in [0, 1].
    """
    if start < 0 or number < 1:
        raise ConfigurationError(f"start is {start} and samples {number}; they must be at least 0 and 1")
    data.prepare_data()
    data.setup("test")
    loader = data.test_dataloader()
    if not isinstance(loader, DataLoader):
        raise ConfigurationError("gls export needs one DataLoader of test data")
    samples = list(islice(_samples(loader), start, start + number))
    if not samples:
        raise ConfigurationError(f"start is {start}, and there are no more test images than that")
    return samples


def _samples(loader: DataLoader[Sequence[Tensor]]) -> Iterator[Sample]:
    numbers = count()
    for number, entries in enumerate(loader):
        batch = read_batch(entries, f"test batch {number}")
        require_values(batch, f"test batch {number}")
        for image, label in zip(batch.images, batch.labels.tolist(), strict=True):
            yield Sample(next(numbers), image, label)


def write_benchmark(
    network: nn.Module, samples: Sequence[Sample], directory: Path, *, epsilon: Radius, timeout: float
) -> None:
    """Writes ``network.onnx``, ``network.safetensors``, ``vnnlib/image_<number>.vnnlib`` and ``instances.csv``.

    Args:
        network: Maps images in [0, 1] to logits; stays as it is.
        samples: The images whose l-infinity balls, clipped to [0, 1], the properties are about.
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
    num_classes = write_onnx(network, samples[0].image.shape, directory / "network.onnx")
    weights = as_safetensors(network.state_dict())
    write_whole(directory / "network.safetensors", lambda path: path.write_bytes(weights))
    instances = []
    for sample in samples:
        name = f"vnnlib/image_{sample.number}.vnnlib"
        about = f"Image {sample.number}, label {sample.label}, epsilon {decimal(epsilon)}"
        box = Box.around(sample.image.double()[None], epsilon)
        _write_text(directory / name, robustness_property(box, sample.label, num_classes, about))
        instances.append(f"network.onnx,{name},{decimal(timeout)}\n")
    _write_text(directory / "instances.csv", "".join(instances))


@torch.no_grad()
def _require_outputs(network: nn.Module, samples: Sequence[Sample]) -> None:
    image = samples[0].image[None].float()
    number = copy.deepcopy(network).cpu().float().eval()(image).shape[-1]
    if (largest := max(sample.label for sample in samples)) >= number:
        raise ConfigurationError(
            f"the network has {number} outputs, but an image has the label {largest}; labels are counted from 0"
        )


def _write_text(path: Path, text: str) -> None:
    write_whole(path, lambda draft: draft.write_text(text))
