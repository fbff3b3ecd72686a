"""A training loader that can resume in the middle of an epoch."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from gls_lightning.data.image_dataset import ImageBatch
from gls_lightning.data.order import TrainingOrder


class ResumableLoader(DataLoader[ImageBatch]):
    """A ``DataLoader`` over a ``TrainingOrder`` whose position Lightning saves in its checkpoints.

    After ``load_state_dict`` the saved epoch goes on behind the batches that were read, without reading them again. Any
    other epoch starts at its beginning.
    """

    _epoch = 0
    _batches = 0
    _resuming = False

    def __iter__(self) -> Iterator[ImageBatch]:  # type: ignore[override]
        """Yields the batches of an epoch; the sampler's epoch counts when the first batch is asked for."""
        # A generator on purpose: Lightning makes the iterator of a resumed run before it sets the sampler's epoch.
        if isinstance(self.sampler, TrainingOrder):  # Lightning replaces it where asked to overfit
            resumed = self._resuming and self._epoch == self.sampler.epoch
            self._epoch, self._batches = self.sampler.epoch, self._batches if resumed else 0
            self.sampler.start, self._resuming = self._batches, False
        for batch in super().__iter__():
            self._batches += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Returns the epoch and the number of its batches that were read."""
        return {"epoch": self._epoch, "batches": self._batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Sets the position from which the next iteration goes on."""
        self._epoch, self._batches, self._resuming = state_dict["epoch"], state_dict["batches"], True
