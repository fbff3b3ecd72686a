"""The samples that are left, shared with whatever other processes are at work."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import ceil

from gls_lightning.certification.claims import Claims
from gls_lightning.certification.record_directory import Found, RecordDirectory


class OpenSamples:
    """Batches of samples that no other process decides, neither before nor meanwhile.

    A batch is claimed when it is asked for, and given back when the next one is; its records must be in the directory
    by then. So whoever claims a sample afterwards finds its record. A batch is at most half of a process's even share
    of what is left (factoring, Hummel et al., 1992), so that processes that met harder samples end with the others.
    One that works alone takes half a full batch at least; that leaves enough for another one that starts later.

    Args:
        directory: Where the records of all processes are.
        claims: What other processes are told.
        indices: The samples, all different.
        is_open: Whether a sample is still to be decided, by what was found in the directory.
        batch_size: Number of samples in a batch at most.
        processes: Number of processes that are known to start together.

    Attributes:
        batch: The samples of the last batch.
        found: What was in the directory then.
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
        """The largest number of batches."""
        return self._most

    def __iter__(self) -> Iterator[list[int]]:
        """The batches; none are left once all samples are decided or claimed by others."""
        while claimed := list(islice(filter(self._claims.take, self._left), self._size())):
            self.found = self._directory.read()  # only now: what another process gave back has its record
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
