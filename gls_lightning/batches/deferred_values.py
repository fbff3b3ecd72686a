"""The check of values on a GPU, where reading one would make the training step wait."""

import torch
from torch import Tensor

from gls_lightning.batches.labelled_images import LabelledImages
from gls_lightning.batches.values import BadValue, first_bad_value, outside
from gls_lightning.errors import ConfigurationError


def reading_waits(images: Tensor) -> bool:
    """Says whether reading a value of these images waits for a device."""
    return images.device.type != "cpu"


class DeferredValues:
    """The first bad value of many batches, noted on their device and read when asked.

    Until then training goes on with replaced values. Otherwise a label without a class would end the process, and a NaN
    would look like a failure of training.
    """

    def __init__(self) -> None:
        self._places: list[str] = []
        self._first: tuple[BadValue, Tensor] | None = None

    def note(self, batch: LabelledImages, place: str, num_classes: int) -> LabelledImages:
        """Notes a bad value unless there was one before; nothing is read from the device or copied to it.

        Args:
            batch: The batch to check; all batches have images of one shape and are on one device.
            place: Origin of the batch, for the message; for example ``train batch 7``.
            num_classes: Number of classes.

        Returns:
            The batch, with 0 for each bad pixel and the nearest right value for each bad label and index.
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
        """Reads the noted value and forgets it; waits for the device.

        Raises:
            ConfigurationError: A value was bad.
        """
        first, places = self._first, self._places
        self._first, self._places = None, []
        if first is not None and first[0].found:
            raise ConfigurationError(first[0].describe(places[int(first[1])], *self._about))
