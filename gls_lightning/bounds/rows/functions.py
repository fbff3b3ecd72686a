"""The linear functions that rows of coefficients stand for."""

from typing import NamedTuple

import torch
from torch import Tensor


class Functions(NamedTuple):
    """The functions that rows stand for.

    Attributes:
        mirrored: Whether the rows stand for the functions of the coefficients and, after these, for their negatives.
            Upper bounds need the negatives, whose coefficients up to the first activation are the same.
        samples: If each row was chosen by itself, the sample that it belongs to, ``[N]``; the rows then form a batch
            of ``N``.
        positions: The position of each such row, ``[N]``.
    """

    mirrored: bool = False
    samples: Tensor | None = None
    positions: Tensor | None = None

    def chosen(self, read: Tensor) -> Tensor:
        """Picks, if the rows were chosen one by one, what each of them reads: ``[N, 1, 1, K]``.

        Args:
            read: What all rows would read, ``[B|1, P|1, 1, K]``.
        """
        if self.samples is None or self.positions is None or read.shape[:2] == (1, 1):
            return read
        samples = self.samples if len(read) > 1 else torch.zeros_like(self.samples)
        positions = self.positions if read.shape[1] > 1 else torch.zeros_like(self.positions)
        return read[samples, positions][:, None]


AS_GIVEN = Functions()
"""The functions that the coefficients give, for every sample at every position."""
