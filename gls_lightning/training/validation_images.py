"""Some of the validation images, read without disturbing the run."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from gls_lightning.batches import read_batch
from gls_lightning.errors import ConfigurationError

IndexedImages = tuple[Tensor, Tensor, Tensor]
"""Images ``[B, *input]``, labels ``[B]`` and indices in the data set ``[B]``."""


class ValidationImages:
    """The validation images of a run, by their positions, the same on every process.

    Args:
        callback: Who needs them, for the message.
        trainer: The trainer, in validation.

    Raises:
        ConfigurationError: The validation data are not a single DataLoader.
    """

    def __init__(self, callback: Callback, trainer: Trainer) -> None:
        loader: Any = trainer.val_dataloaders
        if not isinstance(loader, DataLoader):
            raise ConfigurationError(f"{type(callback).__name__} needs one DataLoader of validation data")
        self._loader: DataLoader[Any] = loader
        self._strategy = trainer.strategy

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self._loader.dataset)  # type: ignore[arg-type]

    @torch.inference_mode(False)  # what is done with them may need autograd
    def first(self, samples: int) -> IndexedImages:
        """Returns the first ones; all where there are fewer."""
        return next(self.batches([list(range(min(samples, len(self))))]))

    def batches(self, batches: Sequence[list[int]]) -> Iterator[IndexedImages]:
        """Reads the images at these positions, batch by batch.

        Raises:
            ConfigurationError: They are not labelled images.
        """
        reader = DataLoader(
            self._loader.dataset,
            batch_sampler=batches,
            collate_fn=self._loader.collate_fn,
            generator=torch.Generator(),  # without it the loader would draw from the global one
        )
        for batch, positions in zip(reader, batches, strict=True):
            on_device = self._strategy.batch_to_device(batch)
            images, labels, indices = read_batch(on_device, "the batch of validation images")
            yield images, labels, torch.tensor(positions, device=labels.device) if indices is None else indices


def require_validation(callback: Callback, trainer: Trainer) -> None:
    """Refuses a fit without validation, in which the callback would never act.

    Raises:
        ConfigurationError: There is none.
    """
    if not trainer.enable_validation:
        raise ConfigurationError(
            f"{type(callback).__name__} looks at the network in validation, which this fit has none of; give "
            "validation data, and let trainer.limit_val_batches be above 0"
        )
