"""Tensors that sizes alone determine, such as indices, kept on the devices of their use."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

Maker = Callable[..., tuple[Tensor, ...]]

_holders: list[list[Tensor]] = []


def constants(make: Maker, like: Tensor, *sizes: Hashable, as_numbers: bool = False) -> tuple[Tensor, ...]:
    """Returns what ``make(*sizes)`` makes on the CPU, copied only once to each device.

    Args:
        make: A function of hashable arguments alone.
        like: A tensor on the device of use.
        *sizes: Its arguments.
        as_numbers: Whether the result is converted to the type of ``like``.
    """
    made = _made(make, like.device, like.dtype if as_numbers else None, *sizes)
    for held in _holders:
        held.extend(made)
    return made


@contextmanager
def holding_constants() -> Iterator[list[Tensor]]:
    """Lists the constants that are used within; a recording of operations on them must keep them alive."""
    held: list[Tensor] = []
    _holders.append(held)
    try:
        yield held
    finally:
        _holders.remove(held)


@lru_cache(maxsize=512)
@torch.inference_mode(False)  # the result outlives the mode in which it is first needed
def _made(make: Maker, device: torch.device, dtype: torch.dtype | None, *sizes: Hashable) -> tuple[Tensor, ...]:
    return tuple(tensor.to(device=device, dtype=dtype or tensor.dtype) for tensor in make(*sizes))
