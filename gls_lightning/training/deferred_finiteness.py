"""The check for numbers that are not finite on a GPU, where reading one would make the training step wait."""

from typing import NamedTuple

import torch
from torch import Tensor


class NotFinite(NamedTuple):
    """The first number that was not finite.

    Attributes:
        value: The number.
        what: Its name.
        batch: Number of the batch in which it came up, counted over the whole run.
    """

    value: float
    what: str
    batch: int


class DeferredFiniteness:
    """Numbers of many batches, kept on their device and read when asked.

    Attributes:
        flag: 1 on the device once a noted number was not finite, 0 before; None unless it is asked for.
    """

    def __init__(self) -> None:
        self._noted: list[tuple[Tensor, str, int]] = []
        self.flag: Tensor | None = None

    def __len__(self) -> int:
        return len(self._noted)

    def note(self, value: Tensor, what: str, batch: int, *, flag: bool) -> None:
        """Notes a 0-dim number; nothing is read from the device or copied to it.

        Args:
            value: The number, which nobody changes in place afterwards.
            what: Its name.
            batch: Number of its batch.
            flag: Whether to keep :attr:`flag`, which takes some operations more.
        """
        self._noted.append((value, what, batch))
        if flag:
            bad = ((value - value) != 0).float()  # the difference is NaN for infinity and NaN
            self.flag = bad if self.flag is None else torch.maximum(self.flag, bad)

    def first(self) -> NotFinite | None:
        """Reads what was noted, in one piece, and forgets it; waits for the device.

        Returns:
            The first number that is not finite; None if there is none.
        """
        noted, self._noted = self._noted, []
        if not noted:
            return None
        values = torch.stack([value.double() for value, _, _ in noted]).cpu()
        bad = values.isfinite().logical_not().nonzero()
        if not len(bad):
            return None
        position = int(bad[0])
        _, what, batch = noted[position]
        return NotFinite(values[position].item(), what, batch)
