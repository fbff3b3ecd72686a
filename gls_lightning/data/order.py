"""In which order, and by which process, a data set is read.

Both orders subclass ``DistributedSampler`` because Lightning leaves such samplers alone, and neither pads: no entry is
read twice.
"""

from collections.abc import Iterator

import torch
from torch.utils.data.distributed import DistributedSampler

from gls_lightning.data.image_dataset import ImageDataset
from gls_lightning.randomness import keyed_generator


class TrainingOrder(DistributedSampler[int]):
    """A random order, determined by (seed, epoch), whose batches are shared by the processes.

    Each global batch is ``batch_size * world_size`` consecutive entries of one permutation of the data set; process
    r reads every ``world_size``-th of them, from the r-th on. All processes read the same number of batches; in the
    last one their sizes may differ by one. Where too few entries remain for it, they are left out.

    Attributes:
        start: How many batches the next iteration leaves out at the beginning.

    Args:
        dataset: What is read.
        batch_size: Entries per batch and process.
        seed: Determines the permutation together with the epoch.
        rank: This process.
        world_size: The number of processes.
        smallest_batch: How many entries each process must have of the last batch.
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
        """This process's keys (see ``ImageDataset``)."""
        order = torch.randperm(self.size, generator=keyed_generator("order", self.seed, self.epoch))
        share = order[self.rank : self.used : self.num_replicas] + self.epoch * self.size
        return iter(share[self.start * self.batch_size :].tolist())

    def __len__(self) -> int:
        return len(range(self.rank, self.used, self.num_replicas))


class EvaluationOrder(DistributedSampler[int]):
    """The data set's own order; process r of w reads the entries r, r + w, r + 2w, ...

    Args:
        dataset: What is read.
        rank: This process.
        world_size: The number of processes.
    """

    def __init__(self, dataset: ImageDataset, *, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=False)
        self.share = range(rank, len(dataset), world_size)

    def __iter__(self) -> Iterator[int]:
        """This process's positions."""
        return iter(self.share)

    def __len__(self) -> int:
        return len(self.share)


def even_batch_size(size: int, world_size: int, limit: int) -> int | None:
    """The largest batch size with which every process evaluates the same number of batches.

    Process shares of an evaluation differ by at most one entry; one batch more on some processes would pair the
    wrong collective operations (DistributedDataParallel broadcasts buffers in each forward pass) and hang.

    Args:
        size: Entries of the data set.
        world_size: The number of processes.
        limit: The largest batch size allowed.

    Returns:
        None where no batch size up to ``limit`` will do.
    """
    smallest_share, remainder = divmod(size, world_size)
    return next((b for b in range(limit, 0, -1) if remainder == 0 or smallest_share % b), None)
