"""The use of memory: how much of a node, a batch or a population is bounded at once.

Every rule is one of device and sizes alone, never of measured time or free memory, so that all processes and a resumed
run divide their work in the same way and get the same numbers. A *coefficient* is one number of those that bounds are
made of; a relaxation counts how many it takes (:meth:`Relaxation.coefficients`). All constants were measured, see
``benchmarks/``.
"""

from collections.abc import Mapping
from math import inf
from typing import Literal, NamedTuple

import torch

from gls_lightning.arguments import require
from gls_lightning.devices import memory_of

MemoryBudget = float | Literal["auto"]
"""GiB, or ``auto`` for what :func:`gibibytes` says of a device."""

TENSORS_PER_SLOPE = 12
"""Numbers that are kept for each slope or multiplier that is optimised: lines, value, gradient and moments."""

_SHARE_OF_A_GPU = 0.4
"""Share of a GPU's memory that is a budget by default: beside a captured step there is room for one that is not."""

_WITHOUT_A_GPU = 4.0
"""GiB that are a budget by default elsewhere."""

_PEAK_OVER_KEPT = 2
"""Peak memory of a backward pass as a multiple of the memory that the forward pass keeps."""

_CACHED_BYTES = 2**25
"""Size beyond which tensors of relaxations without chunks fall out of a processor's caches."""

_CACHED_CHUNK_BYTES = 2**24
"""Size beyond which chunks of coefficients fall out of a processor's caches."""

_MOST_CHUNKS = 8
"""Chunks of a node beyond which bounding fewer samples at a time is faster on a CPU."""

_MOST_TOGETHER_ON_CPU = 2**22
"""Coefficients of all members together beyond which one member after the other is faster on a CPU."""


class Coefficients(NamedTuple):
    """Numbers of coefficients that bounding one sample takes.

    Attributes:
        kept: Those that autograd keeps.
        largest: Those of the largest tensor, by the node whose elements are bounded with it.
    """

    kept: int
    largest: Mapping[str, int]


class Parts(NamedTuple):
    """A batch divided into parts.

    Attributes:
        size: Samples in a part, at least 1.
        exceeds_budget: Whether the batch as a whole needs more than the budget.
    """

    size: int
    exceeds_budget: bool


def require_budget(memory_budget: MemoryBudget) -> None:
    """Refuses what is no memory budget.

    Raises:
        ConfigurationError: It is neither a positive number nor ``auto``.
    """
    is_number = isinstance(memory_budget, int | float) and not isinstance(memory_budget, bool)
    fits = 0 < memory_budget < inf if is_number else memory_budget == "auto"  # type: ignore[operator]
    require(fits, "memory_budget", memory_budget, "positive, in GiB, or auto")


def gibibytes(memory_budget: MemoryBudget, device: torch.device) -> float:
    """Returns a memory budget in GiB.

    Args:
        memory_budget: GiB; ``auto`` is a fixed share of the memory of a GPU, whatever of it is free, and 4 elsewhere.
        device: Device that computes.
    """
    if memory_budget != "auto":
        return memory_budget
    memory = memory_of(device)
    return _WITHOUT_A_GPU if memory is None else _SHARE_OF_A_GPU * memory / 2**30


def number_that_fits(memory_budget: float, kept: int, element_size: int) -> int:
    """Counts the samples or members that fit a memory budget, gradients included.

    Args:
        memory_budget: GiB.
        kept: Numbers that autograd keeps for each of them.
        element_size: Bytes of a number.
    """
    return int(memory_budget * 2**30) // (_PEAK_OVER_KEPT * kept * element_size)


def parts_of_batch(
    samples: int, coefficients: Coefficients, memory_budget: float, element_size: int, *, on_cpu: bool, in_chunks: bool
) -> Parts:
    """Divides a batch into parts that fit a budget, and on a CPU also its caches.

    Args:
        samples: Samples in the batch.
        coefficients: The coefficients of one of them.
        memory_budget: GiB.
        element_size: Bytes of a coefficient.
        on_cpu: Whether they lie in the memory of a CPU.
        in_chunks: Whether nodes are bounded in the chunks of :func:`chunks_of_nodes`.
    """
    fitting = number_that_fits(memory_budget, max(1, coefficients.kept), element_size)
    size = min(fitting, samples_in_cache(coefficients, element_size, in_chunks)) if on_cpu else fitting
    return Parts(max(1, min(samples, size)), samples > fitting)


def samples_in_cache(coefficients: Coefficients, element_size: int, in_chunks: bool) -> int:
    """Counts the samples whose tensors fit a processor's caches, with chunks or without."""
    if not in_chunks:
        return _CACHED_BYTES // (max(coefficients.largest.values()) * element_size)
    sizes = [*coefficients.largest.values()] or [1]  # nothing, where all operations act on single elements
    of_output, largest = sizes[-1], max(sizes)
    bytes_of_numbers = min(_CACHED_CHUNK_BYTES // of_output, _MOST_CHUNKS * _CACHED_CHUNK_BYTES // largest)
    return max(1, bytes_of_numbers // element_size)


def chunks_of_nodes(samples: int, coefficients: Coefficients, element_size: int) -> dict[str, int]:
    """Counts for each node the chunks in which its elements are bounded so that a CPU's caches hold each tensor."""
    limit = _CACHED_CHUNK_BYTES // element_size
    return {name: -(-samples * size // limit) for name, size in coefficients.largest.items()}


def members_together(coefficients: int, memory_budget: float, element_size: int, *, on_cpu: bool) -> int:
    """Counts the members of a population that one ``torch.func.vmap`` should take, at least 1.

    On a CPU many small operations gain by it and large ones lose, as convolutions of several networks become grouped;
    elsewhere memory decides.

    Args:
        coefficients: Coefficients of one member's whole batch.
        memory_budget: GiB.
        element_size: Bytes of a coefficient.
        on_cpu: Whether they lie in the memory of a CPU.
    """
    members = number_that_fits(memory_budget, coefficients, element_size)
    return max(1, min(members, _MOST_TOGETHER_ON_CPU // coefficients) if on_cpu else members)
