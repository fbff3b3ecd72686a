"""The check of values on a GPU, where reading one would make the training step wait."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from gls_lightning.batches.labelled_images import LabelledImages
from gls_lightning.batches.values import BadValue, first_bad_value, outside
from gls_lightning.errors import ConfigurationError
from gls_lightning.private_names import of_torch
from gls_lightning.recorder import CannotRecordError, Recorder


def reading_waits(images: Tensor) -> bool:
    """Says whether reading a value of these images waits for a device."""
    return images.device.type != "cpu"


class DeferredValues:
    """The first bad value of many batches, noted on their device and read when asked.

    Until then training goes on with replaced values. Otherwise a label without a class would end the process, and a NaN
    would look like a failure of training.

    Args:
        record: Records what noting a batch does, to replay it for batches of the same sizes.
    """

    def __init__(self, record: Recorder | None = None) -> None:
        self._record = record
        self._recordings: dict[Hashable, _Recording] = {}
        self._places: list[str] = []
        self._noted: list[Tensor] = []  # the first bad value, the number of its batch, and the present batch's number

    def note(self, batch: LabelledImages, place: str, num_classes: int) -> LabelledImages:
        """Notes a bad value unless there was one before; nothing is read from the device or copied to it.

        Args:
            batch: The batch to check; all batches have images of one shape and are on one device.
            place: Origin of the batch, for the message; for example ``train batch 7``.
            num_classes: Number of classes.

        Returns:
            The batch, with 0 for each bad pixel and the nearest right value for each bad label and index; it may change
            when the next one is noted.
        """
        if not self._noted:
            nothing = first_bad_value(batch, num_classes)
            self._noted = [torch.zeros_like(part) for part in (*nothing, nothing.position, nothing.position)]
        self._noted[-1].fill_(len(self._places))
        self._places.append(place)
        self._about = batch.images.shape[1:], num_classes
        recording = self._recording(batch, num_classes)
        return self._update(batch, num_classes) if recording is None else recording(batch)

    def _update(self, batch: LabelledImages, num_classes: int) -> LabelledImages:
        """Notes what is bad, in place, and returns the batch with replaced values."""
        *first, present = self._noted
        found = first[0].clone()
        for kept, new in zip(first, (*first_bad_value(batch, num_classes), present), strict=True):
            kept.copy_(torch.where(found, kept, new))
        return LabelledImages(
            batch.images.masked_fill(outside(batch.images), 0),
            batch.labels.clamp(0, num_classes - 1),
            None if batch.indices is None else batch.indices.clamp(min=0),
        )

    def _recording(self, batch: LabelledImages, num_classes: int) -> "_Recording | None":
        """Returns a recording of noting batches like this one, which leaves what is noted as it is."""
        sizes = tuple((part.shape, part.dtype) for part in _parts(batch))
        if self._record is None or sizes in self._recordings or len(self._recordings) == _MOST_RECORDINGS:
            return self._recordings.get(sizes)
        before = [part.clone() for part in self._noted]
        try:
            self._recordings[sizes] = _Recording(self._record, batch, lambda like: self._update(like, num_classes))
        except CannotRecordError:
            self._record = None
        of_torch.copy_to_all(self._noted, before)
        return self._recordings.get(sizes)

    def raise_if_bad(self) -> None:
        """Reads the noted value and forgets it; waits for the device.

        Raises:
            ConfigurationError: A value was bad.
        """
        places, self._places = self._places, []
        if places and self._noted[0]:
            *bad, number, _ = (part.clone() for part in self._noted)
            self._noted[0].zero_()
            raise ConfigurationError(BadValue(*bad).describe(places[int(number)], *self._about))

    def __reduce__(self) -> tuple[Any, ...]:
        return DeferredValues, ()  # recordings cannot be copied


_MOST_RECORDINGS = 4
"""Sizes of batches that are recorded: those of training and of validation, and their last ones."""


class _Recording:
    """A function of batches of the same sizes, replayed on buffers."""

    def __init__(
        self, record: Recorder, batch: LabelledImages, function: Callable[[LabelledImages], LabelledImages]
    ) -> None:
        self._buffers = [part.clone() for part in _parts(batch)]
        outputs, self._replay = record(lambda: _parts(function(_batch(self._buffers))))
        self._result = _batch(outputs)

    def __call__(self, batch: LabelledImages) -> LabelledImages:
        of_torch.copy_to_all(self._buffers, _parts(batch))
        self._replay()
        return self._result


def _parts(batch: LabelledImages) -> list[Tensor]:
    return [part for part in batch if part is not None]


def _batch(parts: Sequence[Tensor]) -> LabelledImages:
    images, labels, *indices = parts
    return LabelledImages(images, labels, indices[0] if indices else None)
