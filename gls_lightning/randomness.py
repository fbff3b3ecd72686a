"""Random numbers that depend on their keys alone, never on the global generators.

Lightning seeds every process alike and saves no generator in its checkpoints. A generator that is made anew from its
key (seed, batch, member of the population, data set index, ...) needs neither: results do not depend on the number of
processes, and a resumed run draws the same numbers as an uninterrupted one.
"""

import zlib

import numpy as np
import torch


def keyed_generator(purpose: str, *key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Makes a generator that its arguments determine.

    Args:
        purpose: Use of the numbers; under the same key, generators for different purposes are independent.
        key: Non-negative integers below 2^64. Keys that differ in a value or in length give unrelated generators.
        device: Device that draws the numbers.

    Example:
        >>> first, again, other = (torch.rand(3, generator=keyed_generator("noise", 0, batch)) for batch in (7, 7, 8))
        >>> torch.equal(first, again), torch.equal(first, other)
        (True, False)
    """
    words = [zlib.crc32(purpose.encode())]  # hash() differs from process to process
    for number in (len(key), *key):
        words += divmod(number, 2**32)
    seed = np.random.SeedSequence(words).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(seed))
