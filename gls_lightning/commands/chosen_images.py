"""The test images of a data module."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from gls_lightning.batches import read_batch, require_values
from gls_lightning.errors import ConfigurationError


def loader_of_test_images(data: Any, command: str) -> DataLoader[Any]:
    """The loader of a data module that is set up.

    Args:
        data: The data module.
        command: Who needs it, for the message.

    Raises:
        ConfigurationError: It is not a single DataLoader.
    """
    loader = data.test_dataloader()
    if not isinstance(loader, DataLoader) or loader.batch_size is None:
        raise ConfigurationError(f"{command} needs one DataLoader of test data, with a batch_size")
    return loader


class Batches(Protocol):
    """Positions of images in their data set, a batch at a time."""

    def __len__(self) -> int:
        """The largest number of batches."""

    def __iter__(self) -> Iterator[Sequence[int]]:
        """The batches; the next one is asked for when the last one is done with."""


class ChosenTestImages(LightningDataModule):
    """Some test images of another data module, each process's own choice.

    Args:
        data: The data module.
        batch_size: Images per batch where all of them are read.
        command: Who needs them, for messages.

    Attributes:
        batches: Which images form the batches; to be set before the loader is asked for. Positions behind the end of
            the test set are left out.
        input_shape: Shape of an image: the other data module's, or else that of its first test image.
    """

    def __init__(self, data: LightningDataModule, batch_size: int, *, command: str) -> None:
        super().__init__()
        self.data: Any = data
        self.batch_size = batch_size
        self.command = command
        self.batches: Batches = ()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        # What CertifiedTrainingModule checks:
        self.input_shape = getattr(data, "input_shape", None)
        self.num_classes = getattr(data, "num_classes", None)

    def prepare_data(self) -> None:
        """As the other data module."""
        self.data.prepare_data()

    def setup(self, stage: str) -> None:
        """As the other data module."""
        self.data.trainer = self.trainer
        self.data.setup(stage)
        self._all = loader_of_test_images(self.data, self.command)
        if not self.available:
            raise ConfigurationError(f"{self.command} needs test images, and {type(self.data).__name__} has none")
        if self.input_shape is None:
            self.input_shape = read_batch(self._by_hooks(self.read([0])), "the first test image").images.shape[1:]

    @property
    def available(self) -> int:
        """Number of all test images."""
        return len(self._all.dataset)  # type: ignore[arg-type]

    def read_all(self, num_classes: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images ``[B, *input]`` and labels ``[B]`` of the whole test set, in its order.

        Raises:
            ConfigurationError: They are not labelled images of so many classes.
        """
        for number, batch in enumerate(self._loader(self._all.dataset, self.batch_size, self._all.num_workers)):
            place = f"test batch {number}"
            read = read_batch(self._by_hooks(batch), place, self.input_shape)
            indices = torch.arange(len(read.labels)) + number * self.batch_size
            require_values(read._replace(indices=indices), place, num_classes)
            yield read.images, read.labels

    def test_dataloader(self) -> "_Loader":
        """The batches, each read when it is asked for."""
        return _Loader(self)

    def read(self, positions: Sequence[int]) -> Any:
        """The batch of the images at these positions."""
        chosen = Subset(self._all.dataset, [position for position in positions if position < self.available])
        return next(iter(self._loader(chosen, len(chosen), num_workers=0)))

    def _loader(self, dataset: Dataset[Any], batch_size: int, num_workers: int) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size,
            num_workers=num_workers,
            collate_fn=self._all.collate_fn,
            generator=torch.Generator(),  # a loader without one draws from the global generator
        )

    def _by_hooks(self, batch: Any) -> Any:
        """The batch as the other data module makes it on its way to the device."""
        return self.on_after_batch_transfer(self.on_before_batch_transfer(batch, 0), 0)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """As the other data module."""
        return self.data.on_before_batch_transfer(batch, dataloader_idx)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """As the other data module."""
        return self.data.transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """As the other data module."""
        return self.data.on_after_batch_transfer(batch, dataloader_idx)


class _Loader:
    """Batches that Lightning iterates; no DataLoader, whose batches it would divide among the processes."""

    def __init__(self, images: ChosenTestImages) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images.batches)

    def __iter__(self) -> Iterator[Any]:
        return map(self._images.read, self._images.batches)
