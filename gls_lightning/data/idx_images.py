"""MNIST and the data sets in its format."""

import gzip
from http.client import HTTPException
from math import prod
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torchvision  # type: ignore[import-untyped]
from torch import Tensor
from torchvision.datasets.utils import check_integrity, download_url  # type: ignore[import-untyped]

from gls_lightning.data.downloaded_images import DownloadedImages
from gls_lightning.errors import ConfigurationError


class IDXImages(DownloadedImages):
    """28x28 grey-scale images in four IDX files (http://yann.lecun.com/exdb/mnist), compressed or not.

    Attributes:
        source: The torchvision class that knows the files' addresses and checksums.
    """

    input_shape = (1, 28, 28)
    num_classes = 10
    source: ClassVar[type[torchvision.datasets.MNIST]]

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.root / self.source.__name__ / "raw"

    def download(self) -> None:
        """Downloads the files that are missing or damaged."""
        for name, md5 in self.source.resources:
            if find_idx(self.folder / name, md5) is None:
                self._download(name, md5)

    def _download(self, name: str, md5: str) -> None:
        """Tries each mirror; what is left of a broken download is known by its checksum."""
        failures = []
        for mirror in self.source.mirrors:
            try:
                download_url(mirror + name, self.folder, md5=md5)
                return
            except (OSError, RuntimeError, HTTPException) as error:
                failures.append(f"{mirror}: {error}")
        raise RuntimeError("; ".join(failures))

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Reads the training or the test set."""
        images, labels = (self._read(*resource) for resource in self.source.resources[0 if train else 2 :][:2])
        return images[:, None], labels.long()

    def _read(self, name: str, md5: str) -> Tensor:
        file = find_idx(self.folder / name, md5)
        if file is None:
            raise ConfigurationError(f"data.root: {str(self.folder)!r} does not hold an intact {name}")
        return torch.from_numpy(read_idx(file))


def find_idx(compressed: Path, md5: str) -> Path | None:
    """The compressed file if it has the checksum, else the extracted one if it is complete, else None."""
    if check_integrity(compressed, md5):
        return compressed
    extracted = compressed.with_suffix("")
    return extracted if extracted.is_file() and _is_complete(extracted) else None


def read_idx(file: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Reads an IDX file of unsigned bytes: two zeros, type 8, the number of dimensions, big-endian sizes, values."""
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    start, shape = _header(content)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _is_complete(file: Path) -> bool:
    with file.open("rb") as content:
        beginning = content.read(16)
    if len(beginning) < 16 or beginning[:3] != b"\0\0\x08" or beginning[3] > 3:
        return False
    start, shape = _header(beginning)
    return file.stat().st_size == start + prod(shape)


def _header(content: bytes) -> tuple[int, tuple[int, ...]]:
    """Where the values start, and their shape."""
    dimensions = content[3]
    return 4 + 4 * dimensions, tuple(np.frombuffer(content, ">u4", dimensions, 4).tolist())
