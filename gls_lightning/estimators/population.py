"""Evaluation of many members of a population."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from gls_lightning.errors import ConfigurationError
from gls_lightning.private_names import of_torch

Params = dict[str, Tensor]
T = TypeVar("T")


def evaluate_members(
    function: Callable[[Params], T], member: Callable[[int], Params], members: Sequence[int], at_once: int
) -> Iterator[T]:
    """Applies a function to the parameters of every member, some members at a time.

    Args:
        function: A function of parameters that returns tensors, in tuples and dictionaries if it likes.
        member: Makes the parameters of a member when they are needed; no more than ``at_once`` exist at any time.
        members: The members' numbers.
        at_once: How many members are evaluated together by ``torch.func.vmap``; 1 evaluates them one after the other.

    Yields:
        What the function returned for the next members, every tensor with a first dimension for them.
    """
    for start in range(0, len(members), at_once):
        chunk = members[start : start + at_once]
        if at_once == 1:
            yield of_torch.tree_map(lambda value: value[None], function(member(chunk[0])))
        else:
            yield torch.func.vmap(function)(_stacked([member(i) for i in chunk]))


def _stacked(members: list[Params]) -> Params:
    return {name: torch.stack([params[name] for params in members]) for name in members[0]}


def members_at_once(loss_function: object, chosen: int | None, members: int) -> int:
    """How many of ``members`` to evaluate together: the number that was chosen, or else what suits the loss.

    A loss says so by an attribute ``members_at_once``; without it members are evaluated one after the other.
    """
    if chosen is not None:
        return min(chosen, members)
    at_once = min(getattr(loss_function, "members_at_once", 1), members)
    return at_once if at_once >= _FEWEST else 1


_FEWEST = 4
"""Members below which one after the other is faster (measured: benchmarks/population.py)."""


def check_chunk_size(chunk_size: int | None) -> None:
    """Refuses a number of members that is below 1.

    Raises:
        ConfigurationError: It is.
    """
    if chunk_size is not None and chunk_size < 1:
        raise ConfigurationError(f"chunk_size is {chunk_size}; it must be at least 1, or null")
