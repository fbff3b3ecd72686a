"""What the random numbers of a training step depend on."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gls_lightning.errors import ConfigurationError
from gls_lightning.randomness import keyed_generator

Reducer = Callable[[Tensor], Tensor]
"""Sums a tensor over the processes of a run, each process's weighted by its share of the samples.

Where the processes share one batch and divide the population among them, all weights are 1.
"""


def alone(value: Tensor) -> Tensor:
    """The reducer of a single process."""
    return value


@dataclass(frozen=True)
class Step:
    """Names one training step, and the share of its population that falls to this process.

    Attributes:
        seed: The run's seed.
        batch: Number of batches before this one in the whole run; unlike the optimizer's step it also counts under
            gradient accumulation, so no two batches see the same noise.
        rank: This process among those that share one population.
        world_size: Number of processes that share one population; 1 in data-parallel training.
        reduce: Sums what an estimator must know of all processes before it can go on, such as losses.
    """

    seed: int
    batch: int
    rank: int = 0
    world_size: int = 1
    reduce: Reducer = field(default=alone, compare=False)

    def generator(self, member: int, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator for one member of the population, the same on every rank."""
        return keyed_generator("perturbation", self.seed, self.batch, member, device=device)

    def members(self, population_size: int) -> range:
        """This process's members; all processes have equally many, so the mean of their means is the overall mean.

        Raises:
            ConfigurationError: If the population cannot be divided evenly.
        """
        if population_size % self.world_size:
            raise ConfigurationError(
                f"population_size is {population_size}; it must be a multiple of the {self.world_size} processes"
            )
        return range(self.rank, population_size, self.world_size)
