"""Random numbers that depend on their keys alone, never on the global generators.

Lightning seeds every process alike and saves no generator in its checkpoints. A generator made from what it is for
(seed, batch, member of the population, data set index, ...) needs neither: results do not depend on the number of
processes, and a resumed run draws what the uninterrupted one would have drawn.
"""

import numpy as np
import torch


def seed_from(*key: int) -> int:
    """Mixes non-negative integers into one 64-bit seed; neighbouring keys give unrelated seeds."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


def keyed_generator(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator on ``device``, determined by the non-negative integers ``key``."""
    return torch.Generator(device).manual_seed(seed_from(*key))
