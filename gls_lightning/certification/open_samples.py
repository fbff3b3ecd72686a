"""The samples that are still open, shared among all processes at work."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import ceil

from gls_lightning.certification.claims import Claims
from gls_lightning.certification.record_directory import Found, RecordDirectory


class OpenSamples:
    """Batches of samples that no other process has decided or is deciding.

    A batch is claimed when it is asked for, and given back when the next one is asked for. By then its records must be
    in the directory, so that a process that claims a sample later finds its record. A batch is at most half of this
    process's even share of the open samples (factoring, Hummel et al., 1992); so processes with harder samples end at
    about the same time as the others. A process that works alone takes at least half a full batch, which leaves enough
    for another process that starts later.

    Args:
        directory: The records of all processes.
        claims: The claims of this process.
        indices: The samples, all different.
        is_open: Says whether a sample is still to be decided, given the records in the directory.
        batch_size: Largest number of samples in a batch.
        processes: Number of processes that are known to start together.

    Attributes:
        batch: The samples of the last batch.
        found: The records in the directory at that time.
    """

    def __init__(
        self,
        directory: RecordDirectory,
        claims: Claims,
        indices: Sequence[int],
        *,
        is_open: Callable[[int, Found], bool],
        batch_size: int,
        processes: int,
    ) -> None:
        self.batch: list[int] = []
        self.found = directory.read()
        self._directory = directory
        self._claims = claims
        self._left = list(indices)
        self._most = len(self._left)
        self._is_open = is_open
        self._batch_size = batch_size
        self._processes = processes

    def __len__(self) -> int:
        """Returns the largest possible number of batches."""
        return self._most

    def __iter__(self) -> Iterator[list[int]]:
        """Yields batches until all samples are decided or claimed by others."""
        while claimed := list(islice(filter(self._claims.take, self._left), self._size())):
            self.found = self._directory.read()  # after claiming: samples that other processes gave back have records
            self.batch = [index for index in claimed if self._is_open(index, self.found)]
            if self.batch:
                yield self.batch
            self._claims.give_back()
            done = set(claimed)
            self._left = [index for index in self._left if index not in done and self._is_open(index, self.found)]

    def _size(self) -> int:
        processes = max(self._processes, 1 + self._claims.others())
        least = self._batch_size // 2 if processes == 1 else 1
        return min(self._batch_size, max(least, ceil(len(self._left) / (2 * processes))))
