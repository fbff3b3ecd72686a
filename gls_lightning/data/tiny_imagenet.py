"""TinyImageNet."""

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
    """Images in files, decoded when they are read; grey-scale ones become RGB.

    Args:
        paths: The files, of one image size.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = [str(path) for path in paths]

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The images [B,3,H,W] at ``indices`` [B]."""
        images = []
        for index in indices.tolist():
            with Image.open(self.paths[index]) as image:
                images.append(np.asarray(image.convert("RGB")))
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


class TinyImageNet(ImageDataModule):
    """200 classes of ImageNet at 64x64 (Le & Yang, 2015): 100,000 training images, 10,000 for validation.

    The validation images serve as test set. The labels count the lines of ``wnids.txt``. Images are decoded when they
    are read, so a few ``num_workers`` help.

    Args:
        root: The folder that holds the unpacked original archive as ``tiny-imagenet-200``. It is not downloaded.
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
        """The unpacked archive."""
        return self.root / "tiny-imagenet-200"

    def prepare_data(self) -> None:
        """Looks for the folder.

        Raises:
            ConfigurationError: The folder, or one of the things it should hold, is missing.
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
        labels = {wnid: label for label, wnid in enumerate((self.folder / "wnids.txt").read_text().split())}
        files = self._training_files(labels) if train else self._validation_files(labels)
        return JPEGFiles([path for path, _ in files]), torch.tensor([label for _, label in files])

    def _training_files(self, labels: dict[str, int]) -> list[tuple[Path, int]]:
        files = []
        for wnid, label in labels.items():
            images = self.folder / "train" / wnid / "images"
            found = sorted(images.glob("*.JPEG"))
            if not found:
                raise ConfigurationError(f"data.root: {str(images)!r} holds no *.JPEG, but wnids.txt names {wnid}")
            files += [(path, label) for path in found]
        return files

    def _validation_files(self, labels: dict[str, int]) -> list[tuple[Path, int]]:
        annotations = self.folder / "val" / "val_annotations.txt"
        rows = [line.split("\t")[:2] for line in annotations.read_text().splitlines() if line]
        unknown = {wnid for _, wnid in rows} - labels.keys()
        if unknown:
            raise ConfigurationError(f"data.root: {str(annotations)!r} names {min(unknown)}, which wnids.txt does not")
        return [(self.folder / "val" / "images" / name, labels[wnid]) for name, wnid in rows]

    def augmentation(self, num_images: int) -> FlipAndCrop | None:
        """Random flip and crop."""
        return FlipAndCrop(padding=4, num_images=num_images, seed=self.seed) if self.augment else None
