"""The test images of a data module."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from gls_lightning.arguments import require
from gls_lightning.batches import LabelledImages, read_batch, require_values
from gls_lightning.certification import OpenSamples
from gls_lightning.errors import ConfigurationError


class ChosenTestImages(LightningDataModule):
    """Neighbouring test images of another data module, of which each process reads its own batches.

    Args:
        data: The data module.
        command: Name of the command that needs them, for messages.
        start: Position of the first one in the test set.
        end: Position behind the last one. By default the end of the test set.
        samples: How many, in place of ``end``; all that follow where there are fewer.

    Attributes:
        positions: Their positions in the test set; known once this is set up.
        batches: The positions of each batch of this process; all images in one batch unless others are set.
        batch_size: That of the other data module.
        input_shape: Shape of an image: the other data module's, or else that of its first test image.

    Raises:
        ConfigurationError: A position is out of range, or ``samples`` and ``end`` are both given; in the setup: there
            are no such images, or they do not come from a single DataLoader.
    """

    positions: range
    batches: Sequence[Sequence[int]] | OpenSamples
    batch_size: int

    def __init__(
        self,
        data: LightningDataModule,
        command: str,
        start: int = 0,
        end: int | None = None,
        samples: int | None = None,
    ) -> None:
        super().__init__()
        require(start >= 0, "start", start, "at least 0")
        if samples is not None and end is not None:
            raise ConfigurationError(f"samples is {samples} and end is {end}; give one of them")
        require(samples is None or samples >= 1, "samples", samples, "at least 1")
        require(end is None or end > start, "end", end, f"above start, which is {start}")
        self.data: Any = data
        self.command = command
        self.start = start
        self.end = end
        self.samples = samples
        self.allow_zero_length_dataloader_with_multiple_devices = True
        # What CertifiedTrainingModule checks:
        self.input_shape = getattr(data, "input_shape", None)
        self.num_classes = getattr(data, "num_classes", None)

    def prepare_data(self) -> None:
        """Prepares the other data module."""
        self.data.prepare_data()

    def setup(self, stage: str) -> None:
        """Sets up the other data module, and finds out which images there are."""
        self.data.trainer = self.trainer
        self.data.setup(stage)
        self._all = self.data.test_dataloader()
        if not isinstance(self._all, DataLoader) or self._all.batch_size is None:
            raise ConfigurationError(f"{self.command} needs one DataLoader of test data, with a batch_size")
        self.batch_size = self._all.batch_size
        self.positions = self._chosen(len(self._all.dataset))  # type: ignore[arg-type]
        self.batches = [self.positions]
        if self.input_shape is None:
            self.input_shape = read_batch(self._by_hooks(self.read([0])), "the first test image").images.shape[1:]

    def _chosen(self, available: int) -> range:
        """Returns the positions of the images, of so many that there are."""
        if not available:
            raise ConfigurationError(f"{self.command} needs test images, and {type(self.data).__name__} has none")
        require(self.start < available, "start", self.start, f"below {available}, the number of test images")
        require((self.end or 1) <= available, "end", self.end, f"at most {available}, the number of test images")
        return range(available)[self.start : self.end if self.samples is None else self.start + self.samples]

    def read_all(self, batch_size: int, num_classes: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Reads the whole test set, in its order.

        Yields:
            Images ``[B, *input]`` and labels ``[B]`` of each batch.

        Raises:
            ConfigurationError: They are not labelled images of so many classes.
        """
        for number, batch in enumerate(self._loader(self._all.dataset, batch_size, self._all.num_workers)):
            read = self._labelled(batch, f"test batch {number}", number * batch_size, num_classes)
            yield read.images, read.labels

    def read_chosen(self) -> LabelledImages:
        """Reads the chosen images outside of a trainer's loop, in one batch.

        Raises:
            ConfigurationError: They are not labelled images.
        """
        self.prepare_data()
        self.setup("test")
        return self._labelled(self.read(self.positions), "the batch of test images", self.start)

    def _labelled(self, batch: Any, place: str, first: int, num_classes: int | None = None) -> LabelledImages:
        """Takes a batch apart whose first image has this position, and checks its values."""
        read = read_batch(self._by_hooks(batch), place, self.input_shape)
        read = read._replace(indices=torch.arange(len(read.labels)) + first)
        require_values(read, place, num_classes)
        return read

    def test_dataloader(self) -> "_Loader":
        """Returns the batches, each read when it is asked for."""
        return _Loader(self)

    def read(self, positions: Sequence[int]) -> Any:
        """Reads the images at these positions, as one batch."""
        return next(iter(self._loader(Subset(self._all.dataset, positions), len(positions), num_workers=0)))

    def _loader(self, dataset: Dataset[Any], batch_size: int, num_workers: int) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size,
            num_workers=num_workers,
            collate_fn=self._all.collate_fn,
            generator=torch.Generator(),  # a loader without one draws from the global generator
        )

    def _by_hooks(self, batch: Any) -> Any:
        """Returns the batch as the other data module makes it on its way to the device."""
        return self.on_after_batch_transfer(self.on_before_batch_transfer(batch, 0), 0)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Does what the other data module does."""
        return self.data.on_before_batch_transfer(batch, dataloader_idx)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Does what the other data module does."""
        return self.data.transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Does what the other data module does."""
        return self.data.on_after_batch_transfer(batch, dataloader_idx)


class _Loader:
    """Batches that Lightning iterates; no DataLoader, whose batches it would divide among the processes."""

    def __init__(self, images: ChosenTestImages) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images.batches)

    def __iter__(self) -> Iterator[Any]:
        return map(self._images.read, self._images.batches)
