"""TinyImageNet."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gls_lightning.data.augmentation import FlipAndCrop
from gls_lightning.data.image_data_module import ImageDataModule
from gls_lightning.errors import ConfigurationError


class JPEGFiles:
    """Images in files, decoded when they are read; grey-scale and CMYK images become RGB.

    Args:
        paths: The files.
        size: Height and width of every image.
    """

    def __init__(self, paths: list[Path], size: tuple[int, int]) -> None:
        self.paths = [str(path) for path in paths]
        self.size = size

    def __len__(self) -> int:
        """Counts the images."""
        return len(self.paths)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Reads the images [B,3,H,W] at ``indices`` [B].

        Raises:
            ConfigurationError: A file cannot be decoded, or has another size.
        """
        images = [self._decoded(self.paths[index]) for index in indices.tolist()]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)

    def _decoded(self, path: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except Exception as error:  # Pillow's decoders raise many kinds
            raise ConfigurationError(f"data.root: {path} is no image that can be decoded ({error})") from error
        if pixels.shape[:2] != self.size:
            size = " x ".join(map(str, pixels.shape[:2]))
            raise ConfigurationError(
                f"data.root: {path} has {size} pixels; it must have {' x '.join(map(str, self.size))}"
            )
        return pixels


class TinyImageNet(ImageDataModule):
    """200 classes of ImageNet at 64x64 (Le & Yang, 2015): 100,000 training images, 10,000 for validation.

    The validation images are the test set. A label is the number of the class's line in ``wnids.txt``, from 0. Images
    are decoded when they are read, so a few ``num_workers`` help.

    Args:
        root: Folder with the unpacked original archive, ``tiny-imagenet-200``. It is not downloaded.
        augment: Flip and crop training images at random, after 4 pixels of zero padding (paper, App. F.5).
        **kwargs: See ``ImageDataModule``.
    """

    input_shape = (3, 64, 64)
    num_classes = 200
    mean = (0.4802, 0.4481, 0.3975)
    std = (0.2302, 0.2265, 0.2262)

    def __init__(self, *, root: str = "data", augment: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()
        self.augment = augment

    @property
    def folder(self) -> Path:
        """The folder of the unpacked archive."""
        return self.root / "tiny-imagenet-200"

    def prepare_data(self) -> None:
        """Looks for the folder.

        Raises:
            ConfigurationError: The folder, or a file or folder in it, is missing.
        """
        for name in ("wnids.txt", "train", "val/images", "val/val_annotations.txt"):
            if not (self.folder / name).exists():
                raise ConfigurationError(
                    f"data.root: {str(self.folder)!r} has no {name}; it should hold the unpacked archive: "
                    "wnids.txt, train/<wnid>/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt"
                )

    def load(self, train: bool) -> tuple[JPEGFiles, Tensor]:
        """Lists the training or the validation set."""
        self.prepare_data()
        labels = self._labels()
        files = self._training_files(labels) if train else self._validation_files(labels)
        paths = [path for path, _ in files]
        return JPEGFiles(paths, self.input_shape[1:]), torch.tensor([label for _, label in files])

    def _labels(self) -> dict[str, int]:
        """Reads the label of each class."""
        path = self.folder / "wnids.txt"
        wnids = _text(path).split()
        if not 1 <= len(wnids) <= self.num_classes:
            raise ConfigurationError(
                f"data.root: {path} names {len(wnids)} classes; it must name 1 to {self.num_classes}"
            )
        if repeated := [wnid for wnid, number in Counter(wnids).items() if number > 1]:
            raise ConfigurationError(f"data.root: {path} names {repeated[0]} more than once")
        return {wnid: label for label, wnid in enumerate(wnids)}

    def _training_files(self, labels: dict[str, int]) -> list[tuple[Path, int]]:
        files = []
        for wnid, label in labels.items():
            images = self.folder / "train" / wnid / "images"
            found = sorted(images.glob("*.JPEG"))
            if not found:
                raise ConfigurationError(f"data.root: {str(images)!r} holds no *.JPEG, but wnids.txt names {wnid}")
            files += [(path, label) for path in found]
        folders = {path.name for path in (self.folder / "train").iterdir() if path.is_dir()}
        if unknown := folders - labels.keys():
            raise ConfigurationError(
                f"data.root: {str(self.folder / 'train')!r} holds {min(unknown)}, which wnids.txt does not name"
            )
        return files

    def _validation_files(self, labels: dict[str, int]) -> list[tuple[Path, int]]:
        annotations = self.folder / "val" / "val_annotations.txt"
        rows = [line.split("\t") for line in _text(annotations).splitlines() if line]
        if not rows:
            raise ConfigurationError(f"data.root: {str(annotations)!r} has no entry; it must name images and classes")
        for row in rows:
            if len(row) < 2:
                raise ConfigurationError(
                    f"data.root: {str(annotations)!r} has the line {row[0]!r}; it must be an image, a tab and its class"
                )
        if unknown := {row[1] for row in rows} - labels.keys():
            raise ConfigurationError(f"data.root: {str(annotations)!r} names {min(unknown)}, which wnids.txt does not")
        images = self.folder / "val" / "images"
        if missing := {row[0] for row in rows} - {path.name for path in images.iterdir()}:
            raise ConfigurationError(
                f"data.root: {str(images)!r} has no {min(missing)}, which val_annotations.txt names"
            )
        return [(images / row[0], labels[row[1]]) for row in rows]

    def augmentation(self, num_images: int) -> FlipAndCrop | None:
        """Returns a random flip and crop."""
        return FlipAndCrop(padding=4, num_images=num_images, seed=self.seed) if self.augment else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"data.root: {path} is no readable text ({error})") from error
