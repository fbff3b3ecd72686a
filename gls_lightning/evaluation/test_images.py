"""The test images of a data module."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from gls_lightning.batches import read_batch, require_values
from gls_lightning.data import EvaluationOrder
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


class ChosenTestImages(LightningDataModule):
    """Some test images of another data module.

    Args:
        data: The data module.
        batch_size: Images per batch, in each process.
        command: Who needs them, for messages.
        divided: Whether the processes divide the images among them; otherwise each reads all.

    Attributes:
        positions: Positions of the images in the test set; to be set before the loader is asked for. Those behind its
            end are left out.
    """

    def __init__(self, data: LightningDataModule, batch_size: int, *, command: str, divided: bool = True) -> None:
        super().__init__()
        self.data: Any = data
        self.batch_size = batch_size
        self.command = command
        self.divided = divided
        self.positions: Sequence[int] = ()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        # What CertifiedTrainingModule checks:
        self.input_shape = getattr(data, "input_shape", None)
        self.num_classes = getattr(data, "num_classes", None)

    def prepare_data(self) -> None:
        """As the other data module."""
        self.data.prepare_data()

    def setup(self, stage: str) -> None:
        """As the other data module."""
        self.data.setup(stage)
        self._all = loader_of_test_images(self.data, self.command)

    @property
    def available(self) -> int:
        """Number of all test images."""
        return len(self._all.dataset)  # type: ignore[arg-type]

    def read_all(self, num_classes: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images ``[B, *input]`` and labels ``[B]`` of the whole test set, in its order.

        Raises:
            ConfigurationError: They are not labelled images of so many classes.
        """
        for number, batch in enumerate(self._loader(self._all.dataset)):
            place = f"test batch {number}"
            read = read_batch(batch, place, self.input_shape)
            indices = torch.arange(len(read.labels)) + number * self.batch_size
            require_values(read._replace(indices=indices), place, num_classes)
            yield read.images, read.labels

    @property
    def share(self) -> list[int]:
        """The positions that this process reads."""
        rank, world_size = self._process
        return self._present[rank::world_size]

    @property
    def _present(self) -> list[int]:
        return [position for position in self.positions if position < self.available]

    @property
    def _process(self) -> tuple[int, int]:
        trainer: Any = self.trainer
        return (trainer.global_rank, trainer.world_size) if self.divided else (0, 1)

    def test_dataloader(self) -> DataLoader[Any]:
        """This process's share, in order."""
        rank, world_size = self._process
        chosen: Any = Subset(self._all.dataset, self._present)
        return self._loader(chosen, EvaluationOrder(chosen, rank=rank, world_size=world_size))

    def _loader(self, dataset: Dataset[Any], sampler: EvaluationOrder | None = None) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            self.batch_size,
            sampler=sampler,
            num_workers=self._all.num_workers,
            collate_fn=self._all.collate_fn,
            generator=torch.Generator(),  # a loader without one draws from the global generator
        )
