"""Random numbers that depend on their keys alone, never on the global generators.

Lightning seeds every process alike and saves no generator in its checkpoints. A generator made from what it is for
(seed, batch, member of the population, data set index, ...) needs neither: results do not depend on the number of
processes, and a resumed run draws what the uninterrupted one would have drawn.
"""

import zlib

import numpy as np
import torch


def keyed_generator(purpose: str, *key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator, determined by its arguments.

    Args:
        purpose: What the numbers are for; generators for different purposes are independent under the same key.
        key: Non-negative integers below 2^64. Keys that differ in a value or in length give unrelated generators.
        device: Where the numbers are drawn.
    """
    words = [zlib.crc32(purpose.encode())]  # hash() differs from process to process
    for number in (len(key), *key):
        words += divmod(number, 2**32)
    seed = np.random.SeedSequence(words).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(seed))
