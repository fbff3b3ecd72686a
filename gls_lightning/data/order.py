"""The order in which the processes read a data set.

Both orders subclass ``DistributedSampler``, because Lightning does not replace such samplers. Unlike it they never
pad: no entry is read twice.
"""

from collections.abc import Iterator

import torch
from torch.utils.data.distributed import DistributedSampler

from gls_lightning.data.image_dataset import ImageDataset
from gls_lightning.randomness import keyed_generator


class TrainingOrder(DistributedSampler[int]):
    """A random order, determined by seed and epoch, in which processes share each batch.

    A global batch is ``batch_size * world_size`` consecutive entries of a permutation of the data set. Process r reads
    every ``world_size``-th of them, from the r-th on. All processes read the same number of batches; the sizes of the
    last one may differ by one. It is left out if there are too few entries for it.

    Attributes:
        start: Number of batches that the next iteration skips at the beginning.

    Args:
        dataset: The data set.
        batch_size: Entries per batch and process.
        seed: Seed; with the epoch it determines the permutation.
        rank: Number of this process.
        world_size: Number of processes.
        smallest_batch: Fewest entries that each process must have in the last batch.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        smallest_batch: int = 1,
    ) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, seed=seed)
        self.batch_size = batch_size
        self.start = 0
        self.size = len(dataset)
        remainder = self.size % (batch_size * world_size)
        self.used = self.size - remainder if remainder < smallest_batch * world_size else self.size

    def __iter__(self) -> Iterator[int]:
        """Yields this process's keys (see ``ImageDataset``)."""
        order = torch.randperm(self.size, generator=keyed_generator("order", self.seed, self.epoch))
        share = order[self.rank : self.used : self.num_replicas] + self.epoch * self.size
        return iter(share[self.start * self.batch_size :].tolist())

    def __len__(self) -> int:
        return len(range(self.rank, self.used, self.num_replicas))


class EvaluationOrder(DistributedSampler[int]):
    """The data set's own order; process r of w reads the entries r, r + w, r + 2w, ...

    Args:
        dataset: The data set.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(self, dataset: ImageDataset, *, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=False)
        self.share = range(rank, len(dataset), world_size)

    def __iter__(self) -> Iterator[int]:
        """Yields this process's positions."""
        return iter(self.share)

    def __len__(self) -> int:
        return len(self.share)


def even_batch_size(size: int, world_size: int, limit: int) -> int | None:
    """Returns the largest batch size with which every process evaluates the same number of batches.

    Shares of processes may differ by one entry. If that gave some of them one batch more, these would wait for the
    others forever (DistributedDataParallel broadcasts buffers in each forward pass).

    Args:
        size: Number of entries of the data set.
        world_size: Number of processes.
        limit: Largest batch size allowed.

    Returns:
        The batch size; None if none up to ``limit`` does.
    """
    smallest_share, remainder = divmod(size, world_size)
    return next((b for b in range(limit, 0, -1) if remainder == 0 or smallest_share % b), None)
