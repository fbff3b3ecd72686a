"""The common part of all data sets."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeVar

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from gls_lightning.arguments import require
from gls_lightning.data._labelled_images import require_labelled_images
from gls_lightning.data.augmentation import Augmentation
from gls_lightning.data.device_dataset import DeviceDataset, suits_gpu
from gls_lightning.data.image_dataset import ImageBatch, ImageDataset, Images
from gls_lightning.data.order import EvaluationOrder, TrainingOrder, even_batch_size
from gls_lightning.data.resumable_loader import ResumableLoader
from gls_lightning.errors import ConfigurationError
from gls_lightning.private_names import of_lightning, of_torch
from gls_lightning.randomness import keyed_generator

OnDevice = Literal["auto"] | bool
"""The choice whether data live on the device of the training; ``auto`` is a rule of device and sizes."""

_Batch = TypeVar("_Batch")


class ImageDataModule(LightningDataModule, ABC):
    """Labelled images for training and evaluation.

    A subclass has the class attributes and ``load``. Batches are ``(x, y, index)``: float32 images [B,C,H,W] in [0,1],
    int64 labels [B], and the int64 index [B] of each image in the training or test set. Images are not normalised: the
    network's first layer does that, with ``mean`` and ``std``. Order, split and augmentation depend on ``seed``, epoch
    and index alone, so they are the same for any number of workers and processes, and after an interruption.

    Several processes share every batch, and no image is read twice. With ``trainer.use_distributed_sampler: false`` all
    processes read the same training batches, of ``batch_size`` images, and still share the evaluation. Shares may
    differ by one image, which torchmetrics objects account for exactly.

    Attributes:
        input_shape: [C,H,W].
        num_classes: Number of classes.
        mean: Mean of each channel, for the network's normalisation; None without one.
        std: Standard deviation of each channel, for the network's normalisation; None without one.
        white: The value of a stored image that becomes 1.

    Args:
        batch_size: Training images per batch, in each process.
        drop_last: Whether each epoch leaves out the images that do not fill a last batch (different ones in every
            epoch). By default it does so only for a network with BatchNorm, if a process would have a single image of
            that batch, which has no variance.
        eval_batch_size: Images per batch in validation and test, in each process; by default ``batch_size``.
            Several processes use a slightly smaller size if their numbers of batches would differ.
        num_workers: Processes that read images in the background; images in memory need none.
        validation_size: Number of training images to keep for validation, unaugmented and drawn with ``seed``. With 0,
            validation uses the test set, as is common in the field.
        on_device: Whether the images of training and validation live on the device, where batches are made; the numbers
            are the same. With ``auto`` they do on a GPU, unless they take more than 1/32 of its memory, lie in files,
            are read by ``num_workers``, or an augmentation or ``on_before_batch_transfer`` of one's own is for the CPU.
        train_size: Number of training images to use, from the first on, including those kept for validation.
        test_size: Number of test images to use, from the first on.
        seed: Seed of the order, the validation split and the augmentation.

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
        on_device: OnDevice = "auto",
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
        self.on_device: OnDevice = _on_device(on_device, num_workers)
        self.seed = _at_least(0, "seed", seed)

    @abstractmethod
    def load(self, train: bool) -> tuple[Images, Tensor]:
        """Reads the training or the test set.

        Returns:
            uint8 images, [N,C,H,W] or indexed like that, and their labels [N], integers from 0 to ``num_classes`` - 1.

        Raises:
            ConfigurationError: The data are missing.
        """

    def augmentation(self, num_images: int) -> Augmentation | None:
        """Returns the augmentation of a training set of ``num_images`` images; by default there is none."""
        return None

    def setup(self, stage: str | None = None) -> None:
        """Reads the data that ``stage`` needs, so that errors come before anything long starts."""
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
        """Loads images and labels, and refuses those that do not fit this data set."""
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
        right = f"at most {size - 1}, so that of {size} training images one is left to train on"
        require(self.validation_size < size, "data.validation_size", self.validation_size, right)
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
        """Makes a loader of the training images; ``loader.sampler.set_epoch`` chooses the epoch."""
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
        return ResumableLoader(batch_size=self.batch_size, sampler=order, **self._loading(self.train_set))

    @property
    def _smallest_batch(self) -> int:
        """The fewest images of an epoch's last training batch with which a process still trains on it."""
        if self.drop_last:
            return self.batch_size
        if self.drop_last is None and self.trainer is not None:
            modules = self.trainer.lightning_module.modules()
            if any(isinstance(module, of_torch.BatchNorm) for module in modules):
                return min(2, self.batch_size)
        return 1

    def val_dataloader(self) -> DataLoader[ImageBatch]:
        """Makes a loader of the validation images, in order."""
        return self._evaluation_loader(**self._loading(self.validation_set))

    def test_dataloader(self) -> DataLoader[ImageBatch]:
        """Makes a loader of the test images, in order."""
        return self._evaluation_loader(**self._loading(self.test_set, may_move=False))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Sends images and labels to the device; indices stay on the CPU, which draws by them."""
        if not isinstance(batch, list | tuple) or len(batch) != 3:  # of a loader of one's own
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        return [*super().transfer_batch_to_device(list(batch[:2]), device, dataloader_idx), batch[2]]

    def _evaluation_loader(self, dataset: ImageDataset, **loading: Any) -> DataLoader[ImageBatch]:
        rank, world_size = self._process()
        batch_size = even_batch_size(len(dataset), world_size, self.eval_batch_size)
        if batch_size is None:
            raise ConfigurationError(
                f"data.eval_batch_size: with {self.eval_batch_size}, {world_size} processes cannot share "
                f"{len(dataset)} images in equally many batches; choose a larger one, or another number of images"
            )
        order = EvaluationOrder(dataset, rank=rank, world_size=world_size)
        return DataLoader(dataset, batch_size, sampler=order, **loading)

    def _loading(self, dataset: ImageDataset, *, may_move: bool = True) -> dict[str, Any]:
        """Returns the data set, where it is to live, and options of the loader that reads it."""
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        moved = may_move and self._lives_on(device, dataset)
        return {
            "dataset": DeviceDataset(dataset, device) if moved else dataset,
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "collate_fn": _as_read,
            "pin_memory": device.type == "cuda" and not moved,
            "generator": torch.Generator(),  # a loader without one draws from the global generator
        }

    def _lives_on(self, device: torch.device, dataset: ImageDataset) -> bool:
        if self.on_device == "auto":
            own_hook = type(self).on_before_batch_transfer is not LightningDataModule.on_before_batch_transfer
            return not self.num_workers and not own_hook and suits_gpu(dataset, device)
        if self.on_device and not isinstance(dataset.images, Tensor):
            right = f"auto or false for {type(self).__name__}, whose images are read when they are needed"
            require(False, "data.on_device", self.on_device, right)
        return self.on_device

    def _process(self) -> tuple[int, int]:
        """Returns this process's rank and the number of processes."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    @property
    def _shares_training(self) -> bool:
        return self.trainer is not None and of_lightning.shares_batches(self.trainer)


def _as_read(batch: _Batch) -> _Batch:
    """Returns a batch as ``ImageDataset`` read it."""
    return batch


def _at_least(minimum: int, key: str, value: int) -> int:
    require(value >= minimum, f"data.{key}", value, f"at least {minimum}")
    return value


def _on_device(value: OnDevice, num_workers: int) -> OnDevice:
    require(value == "auto" or isinstance(value, bool), "data.on_device", value, "auto, true or false")
    right = "auto or false, or data.num_workers 0: workers read images on the CPU"
    require(not (value is True and num_workers), "data.on_device", value, right)
    return value


def _first(key: str, wanted: int | None, available: int) -> int:
    number = available if wanted is None else wanted
    require(number <= available, f"data.{key}", wanted, f"at most {available}, the number of images")
    return number
