"""The check of values where reading them would let a training step wait for the device."""

import torch
from torch import Tensor

from gls_lightning.batches.labelled_images import LabelledImages
from gls_lightning.batches.values import BadValue, first_bad_value, outside
from gls_lightning.errors import ConfigurationError


def reading_waits(images: Tensor) -> bool:
    """Tells whether reading a value of these images waits for a device."""
    return images.device.type != "cpu"


class DeferredValues:
    """Notes the first bad value of many batches on their device, and reads it when asked.

    Until then the steps go on with replacements: a label without a class would end the process, and a NaN be blamed on
    the training.
    """

    def __init__(self) -> None:
        self._places: list[str] = []
        self._first: tuple[BadValue, Tensor] | None = None

    def note(self, batch: LabelledImages, place: str, num_classes: int) -> LabelledImages:
        """Notes a bad value, unless there was one before; nothing is read from the device or copied to it.

        Args:
            batch: What is checked; all batches have images of one shape and are on one device.
            place: Where the batch comes from, for the message; for example ``train batch 7``.
            num_classes: How many classes there are.

        Returns:
            The batch, with 0 for each bad pixel and the nearest that is right for each bad label and index.
        """
        bad = first_bad_value(batch, num_classes)
        number = torch.full_like(bad.position, len(self._places))
        if self._first is not None:
            first, number_of_first = self._first
            number, bad = torch.where(first.found, number_of_first, number), first.otherwise(bad)
        self._first = bad, number
        self._places.append(place)
        self._about = batch.images.shape[1:], num_classes
        return LabelledImages(
            batch.images.masked_fill(outside(batch.images), 0),
            batch.labels.clamp(0, num_classes - 1),
            None if batch.indices is None else batch.indices.clamp(min=0),
        )

    def raise_if_bad(self) -> None:
        """Reads what was noted, and forgets it; waits for the device.

        Raises:
            ConfigurationError: A value was bad.
        """
        first, places = self._first, self._places
        self._first, self._places = None, []
        if first is not None and first[0].found:
            raise ConfigurationError(first[0].describe(places[int(first[1])], *self._about))
