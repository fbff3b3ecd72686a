"""Evaluation of a population's members."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from gls_lightning.arguments import require
from gls_lightning.private_names import of_torch

Params = dict[str, Tensor]
T = TypeVar("T")


def evaluate_members(
    function: Callable[[Params], T], member: Callable[[int], Params], members: Sequence[int], at_once: int
) -> Iterator[T]:
    """Applies a function to the parameters of every member, some members at a time.

    Args:
        function: A function of parameters that returns tensors, perhaps in tuples and dictionaries.
        member: Makes the parameters of one member; at most ``at_once`` of them exist at any time.
        members: The members' numbers.
        at_once: Number of members that ``torch.func.vmap`` evaluates together; 1 evaluates them one after the other.

    Yields:
        The function's results for the next members; every tensor has a first dimension for the members.
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
    """Returns the number of members to evaluate together: the ``chosen`` one, or one that suits the loss.

    A loss can name it in an attribute ``members_at_once``; otherwise members are evaluated one after the other.
    """
    if chosen is not None:
        return min(chosen, members)
    at_once = min(getattr(loss_function, "members_at_once", 1), members)
    return at_once if at_once >= _FEWEST else 1


_FEWEST = 4
"""Fewest members whose evaluation together is faster (measured: benchmarks/population.py)."""


def check_chunk_size(chunk_size: int | None) -> None:
    """Refuses a number of members below 1.

    Raises:
        ConfigurationError: The number is below 1.
    """
    require(chunk_size is None or chunk_size >= 1, "chunk_size", chunk_size, "at least 1, or null")
