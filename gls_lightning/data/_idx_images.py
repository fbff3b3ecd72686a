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

from gls_lightning.batches import shown_shape
from gls_lightning.data._downloaded_images import DownloadedImages
from gls_lightning.errors import ConfigurationError


class IDXImages(DownloadedImages):
    """28x28 grey-scale images in four IDX files (http://yann.lecun.com/exdb/mnist), compressed or not.

    Attributes:
        source: Torchvision's class, which has the files' addresses and checksums.
    """

    input_shape = (1, 28, 28)
    num_classes = 10
    source: ClassVar[type[torchvision.datasets.MNIST]]

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return self.root / self.source.__name__ / "raw"

    def download(self) -> None:
        """Downloads the files that are missing or damaged."""
        for name, md5 in self.source.resources:
            if find_idx(self.folder / name, md5) is None:
                try:
                    self._download(name, md5)
                except RuntimeError as error:
                    raise RuntimeError(f"{_fault(self.folder / name)}; {error}") from error

    def _download(self, name: str, md5: str) -> None:
        """Tries each mirror; an incomplete file is recognised later by its checksum."""
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
        images, labels = self.source.resources[0 if train else 2 :][:2]
        return self._read(images, self.input_shape[1:])[:, None], self._read(labels, ()).long()

    def _read(self, resource: tuple[str, str], shape: tuple[int, ...]) -> Tensor:
        """Reads the entries of a file, each of this shape."""
        name, md5 = resource
        file = find_idx(self.folder / name, md5)
        if file is None:
            raise ConfigurationError(f"data.root: {_fault(self.folder / name)}; name a folder with intact files")
        values = torch.from_numpy(read_idx(file))
        if values.shape[1:] != shape:
            held, right = tuple(values.shape), shown_shape("N", shape)
            raise ConfigurationError(f"data.root: {file} holds values of shape {held}; it must be {right}")
        return values


def find_idx(compressed: Path, md5: str) -> Path | None:
    """Returns the compressed file if it has the checksum, otherwise the extracted one if complete, otherwise None."""
    if check_integrity(compressed, md5):
        return compressed
    extracted = compressed.with_suffix("")
    return extracted if extracted.is_file() and _fault_of_extracted(extracted) is None else None


def read_idx(file: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Reads an IDX file of unsigned bytes: two zeros, type 8, the number of dimensions, big-endian sizes, values."""
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    start, shape = _header(content)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _fault(compressed: Path) -> str:
    """Says what is wrong with a file that was not found intact, compressed or extracted."""
    extracted = compressed.with_suffix("")
    if extracted.is_file():
        return f"{extracted} {_fault_of_extracted(extracted)}"
    return f"{compressed} is damaged" if compressed.is_file() else f"there is no {compressed}"


def _fault_of_extracted(file: Path) -> str | None:
    """Says why a file is no IDX file of unsigned bytes, as a predicate; None if it is one."""
    with file.open("rb") as content:
        beginning = content.read(16)
    if len(beginning) < 4 or beginning[:2] != b"\0\0" or not 1 <= beginning[3] <= 3:
        return "is no IDX file of one to three dimensions"
    if beginning[2] != 8:
        return f"holds values of the IDX type {beginning[2]}, not unsigned bytes, which are type 8"
    if len(beginning) < 4 + 4 * beginning[3]:
        return "is cut off within its header"
    start, shape = _header(beginning)
    announced, size = start + prod(shape), file.stat().st_size
    return None if size == announced else f"is {size} bytes long, where its header announces {announced}"


def _header(content: bytes) -> tuple[int, tuple[int, ...]]:
    """Returns the position of the first value, and the shape of all."""
    dimensions = content[3]
    return 4 + 4 * dimensions, tuple(np.frombuffer(content, ">u4", dimensions, 4).tolist())
