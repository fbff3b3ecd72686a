"""What all data sets have in common."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from gls_lightning.data.augmentation import Augmentation
from gls_lightning.data.image_dataset import ImageBatch, ImageDataset, Images
from gls_lightning.data.labelled_images import require_labelled_images
from gls_lightning.data.order import EvaluationOrder, TrainingOrder, even_batch_size
from gls_lightning.data.resumable_loader import ResumableLoader
from gls_lightning.errors import ConfigurationError
from gls_lightning.private_names import of_lightning, of_torch
from gls_lightning.randomness import keyed_generator

_Batch = TypeVar("_Batch")


class ImageDataModule(LightningDataModule, ABC):
    """Labelled images for training and evaluation.

    Batches are ``(x, y, index)``: float32 images [B,C,H,W] in [0,1], int64 labels [B], and the int64 index [B] of each
    image in the training or test set that it comes from. Order, split and augmentation depend on ``seed``, epoch and
    index alone, so neither workers nor processes nor an interruption change them. Images are not normalised:
    that is the network's first layer, and ``mean`` and ``std`` are for it.

    With several processes, each reads its own share of every batch, none twice; with
    ``trainer.use_distributed_sampler: false`` all processes read the same training batches, of ``batch_size`` images,
    and still share the evaluation. Shares may differ by one image: torchmetrics objects account for that exactly.
    A data set of one's own is a subclass with the class attributes and ``load``.

    Attributes:
        input_shape: [C,H,W].
        num_classes: How many labels there are.
        mean: The mean of each channel, where the network should normalise.
        std: The standard deviation of each channel, where the network should normalise.
        white: The value of a stored image that becomes 1.

    Args:
        batch_size: Training images per batch, in each process.
        drop_last: Whether each epoch leaves out what remains for a last, smaller training batch; other images in every
            epoch. By default only for a network with BatchNorm, and if a process would have one image of that batch: it
            has no variance.
        eval_batch_size: Images per batch in validation and test, in each process; by default ``batch_size``.
            With several processes a slightly smaller size is used where their numbers of batches would differ.
        num_workers: Processes that read images in the background; images in memory need none.
        validation_size: How many training images to keep for validation, unaugmented and drawn with ``seed``. 0
            validates on the test set, as the field does by tradition.
        train_size: Use only the first so many training images, those kept for validation included.
        test_size: Use only the first so many test images.
        seed: Determines the order, the validation split and the augmentation.

    Raises:
        ConfigurationError: A size is out of range.
    """

    input_shape: ClassVar[tuple[int, int, int]]
    num_classes: ClassVar[int]
    mean: ClassVar[tuple[float, ...] | None] = None
    std: ClassVar[tuple[float, ...] | None] = None
    white: ClassVar[int] = 255

    def __init__(
        self,
        *,
        batch_size: int = 256,
        drop_last: bool | None = None,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        validation_size: int = 0,
        train_size: int | None = None,
        test_size: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size = _at_least(1, "batch_size", batch_size)
        self.drop_last = drop_last
        self.eval_batch_size = _at_least(
            1, "eval_batch_size", batch_size if eval_batch_size is None else eval_batch_size
        )
        self.num_workers = _at_least(0, "num_workers", num_workers)
        self.validation_size = _at_least(0, "validation_size", validation_size)
        self.train_size = train_size if train_size is None else _at_least(1, "train_size", train_size)
        self.test_size = test_size if test_size is None else _at_least(1, "test_size", test_size)
        self.seed = _at_least(0, "seed", seed)

    @abstractmethod
    def load(self, train: bool) -> tuple[Images, Tensor]:
        """Reads the training or the test set.

        Returns:
            uint8 images, [N,C,H,W] or indexed like that, and their labels [N], integers from 0 to ``num_classes`` - 1.

        Raises:
            ConfigurationError: The data are not there.
        """

    def augmentation(self, num_images: int) -> Augmentation | None:
        """The augmentation of a training set of ``num_images`` images; none unless a data set has one."""
        return None

    def setup(self, stage: str | None = None) -> None:
        """Reads what ``stage`` needs, so that errors come before anything long starts."""
        if stage in (None, "fit"):
            _ = self.train_set
        if stage in (None, "fit", "validate"):
            _ = self.validation_set
        if stage in (None, "test"):
            _ = self.test_set

    @cached_property
    def _training(self) -> tuple[Images, Tensor]:
        return self._checked(train=True)

    def _checked(self, train: bool) -> tuple[Images, Tensor]:
        """Gives what ``load`` does, if it is of this data set."""
        images, labels = self.load(train)
        require_labelled_images(
            images,
            labels,
            f"data: {'training' if train else 'test'} set of {type(self).__name__}",
            white=self.white,
            input_shape=getattr(self, "input_shape", None),
            num_classes=getattr(self, "num_classes", None),
        )
        return images, labels

    @cached_property
    def _split(self) -> tuple[Tensor, Tensor]:
        """Indices of training and of validation, each in increasing order."""
        size = _first("train_size", self.train_size, len(self._training[1]))
        if self.validation_size >= size:
            raise ConfigurationError(
                f"data.validation_size: {self.validation_size} leaves nothing of {size} training images to train on; "
                f"it must be at most {size - 1}"
            )
        order = torch.randperm(size, generator=keyed_generator("validation split", self.seed))
        return order[self.validation_size :].sort().values, order[: self.validation_size].sort().values

    @cached_property
    def train_set(self) -> ImageDataset:
        """The training images, augmented, without those kept for validation."""
        images, labels = self._training
        augmentation = self.augmentation(len(labels))
        return ImageDataset(images, labels, indices=self._split[0], white=self.white, augmentation=augmentation)

    @cached_property
    def validation_set(self) -> ImageDataset:
        """The training images kept for validation, or the test set where there are none."""
        if self.validation_size == 0:
            return self.test_set
        return ImageDataset(*self._training, indices=self._split[1], white=self.white)

    @cached_property
    def test_set(self) -> ImageDataset:
        """The test images."""
        images, labels = self._checked(train=False)
        indices = torch.arange(_first("test_size", self.test_size, len(labels)))
        return ImageDataset(images, labels, indices=indices, white=self.white)

    def train_dataloader(self) -> ResumableLoader:
        """A new loader of the training images; ``loader.sampler.set_epoch`` chooses the epoch."""
        rank, world_size = self._process() if self._shares_training else (0, 1)
        order = TrainingOrder(
            self.train_set,
            batch_size=self.batch_size,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            smallest_batch=self._smallest_batch,
        )
        if len(order) == 0:
            raise ConfigurationError(
                f"{len(self.train_set)} training images are too few for {world_size} processes with data.batch_size "
                f"{self.batch_size} and data.drop_last {self.drop_last}"
            )
        return ResumableLoader(self.train_set, self.batch_size, sampler=order, **self._loading)

    @property
    def _smallest_batch(self) -> int:
        """The fewest images that a process must have of the last training batch of an epoch."""
        if self.drop_last:
            return self.batch_size
        if self.drop_last is None and self.trainer is not None:
            modules = self.trainer.lightning_module.modules()
            if any(isinstance(module, of_torch.BatchNorm) for module in modules):
                return min(2, self.batch_size)
        return 1

    def val_dataloader(self) -> DataLoader[ImageBatch]:
        """A new loader of the validation images, in order."""
        return self._evaluation_loader(self.validation_set)

    def test_dataloader(self) -> DataLoader[ImageBatch]:
        """A new loader of the test images, in order."""
        return self._evaluation_loader(self.test_set)

    def _evaluation_loader(self, dataset: ImageDataset) -> DataLoader[ImageBatch]:
        rank, world_size = self._process()
        batch_size = even_batch_size(len(dataset), world_size, self.eval_batch_size)
        if batch_size is None:
            raise ConfigurationError(
                f"data.eval_batch_size: with {self.eval_batch_size}, {world_size} processes cannot share "
                f"{len(dataset)} images in equally many batches; choose a larger one, or another number of images"
            )
        order = EvaluationOrder(dataset, rank=rank, world_size=world_size)
        return DataLoader(dataset, batch_size, sampler=order, **self._loading)

    @property
    def _loading(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "collate_fn": _as_read,
            "pin_memory": self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            "generator": torch.Generator(),  # a loader without one draws from the global generator
        }

    def _process(self) -> tuple[int, int]:
        """This process's rank, and how many processes there are."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    @property
    def _shares_training(self) -> bool:
        return self.trainer is not None and of_lightning.shares_batches(self.trainer)


def _as_read(batch: _Batch) -> _Batch:
    """Leaves a batch as ``ImageDataset`` read it."""
    return batch


def _at_least(minimum: int, key: str, value: int) -> int:
    if value < minimum:
        raise ConfigurationError(f"data.{key}: {value} must be at least {minimum}")
    return value


def _first(key: str, wanted: int | None, available: int) -> int:
    if wanted is not None and wanted > available:
        raise ConfigurationError(f"data.{key}: {wanted} must be at most {available}, the images that there are")
    return available if wanted is None else wanted
