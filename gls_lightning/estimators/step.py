"""A training step, as gradient estimators see it: its random numbers and its processes."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gls_lightning.arguments import require
from gls_lightning.randomness import keyed_generator

Reducer = Callable[[Tensor], Tensor]
"""Sums a tensor over the processes of a run, weighted by each process's share of the samples.

If all processes have the same batch and divide the population among them, the weights are 1.
"""


def alone(value: Tensor) -> Tensor:
    """Returns the value: the reducer of a single process."""
    return value


@dataclass(frozen=True)
class Step:
    """One training step, and this process's share of its population.

    Attributes:
        seed: The run's seed.
        batch: Number of batches before this one in the whole run. Gradient accumulation counts too, unlike in the
            number of optimizer steps, so no two batches have the same noise.
        rank: Number of this process among those that share one population.
        world_size: Number of processes that share one population; 1 in data-parallel training.
        reduce: Sums over the processes; estimators use it for intermediate results, such as losses.

    Example:
        >>> list(Step(seed=0, batch=12, rank=1, world_size=2).members(population_size=6))
        [1, 3, 5]
    """

    seed: int
    batch: int
    rank: int = 0
    world_size: int = 1
    reduce: Reducer = field(default=alone, compare=False)

    def generator(self, member: int, device: torch.device | str = "cpu") -> torch.Generator:
        """Makes the generator of one member of the population; it is the same on every rank."""
        return keyed_generator("perturbation", self.seed, self.batch, member, device=device)

    def members(self, population_size: int) -> range:
        """Returns the numbers of this process's members.

        All processes have equally many, so the mean of their means is the mean over the population.

        Raises:
            ConfigurationError: If the population cannot be divided evenly.
        """
        divides, right = population_size % self.world_size == 0, f"a multiple of the {self.world_size} processes"
        require(divides, "population_size", population_size, right)
        return range(self.rank, population_size, self.world_size)
