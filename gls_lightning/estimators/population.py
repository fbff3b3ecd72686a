"""Evaluation of a population's members."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from gls_lightning.arguments import require
from gls_lightning.estimators.evaluation import (
    Params,
    evaluate,
    gradient,
    gradients_of_members,
    value,
    values_of_members,
)
from gls_lightning.private_names import of_torch


def evaluate_members(
    loss_function: Callable[[Params], Any],
    member: Callable[[int], Params],
    members: Sequence[int],
    at_once: int,
    *,
    several: Callable[[Sequence[int]], Params] | None = None,
    with_gradients: bool = False,
) -> Iterator[Any]:
    """Evaluates a function at the parameters of every member, some members at a time.

    Args:
        loss_function: A function of parameters that returns tensors, perhaps in tuples and dictionaries.
        member: Makes the parameters of one member, detached; at most ``at_once`` of them exist at any time.
        members: The members' numbers.
        at_once: Number of members that ``torch.func.vmap`` evaluates together; 1 evaluates them one after the other.
        several: Makes the parameters of several members, stacked; by default as ``member`` does.
        with_gradients: Whether to differentiate the function, which is a :data:`LossFunction` then.

    Yields:
        The function's results for the next members, or loss, gradients and metrics; every tensor has a first dimension
        for the members.
    """
    of_one, of_several = (gradient, gradients_of_members) if with_gradients else (value, values_of_members)
    for start in range(0, len(members), at_once):
        chunk = members[start : start + at_once]
        if at_once == 1:
            result = evaluate(of_one, loss_function, _requiring(member(chunk[0]), with_gradients))
            yield of_torch.tree_map(lambda tensor: tensor[None], result)
        else:
            stacked = several(chunk) if several else _stacked([member(i) for i in chunk])
            yield evaluate(of_several, loss_function, stacked)


def _requiring(params: Params, gradients: bool) -> Params:
    return {name: p.requires_grad_(gradients) for name, p in params.items()}


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
