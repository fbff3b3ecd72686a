"""Noise of many members in tables, with a row for each member and a column for each number that it perturbs.

On a GPU a launch costs more than what it draws or adds, so there the noise of a member is drawn with one launch, and
that of a population weighted with one.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from gls_lightning.devices import sent
from gls_lightning.estimators.evaluation import Params
from gls_lightning.estimators.step import Step


def in_tables(params: Mapping[str, Tensor]) -> bool:
    """Says whether the noise of these parameters is drawn into tables: everywhere but on a CPU."""
    return next(iter(params.values())).device.type != "cpu"


class NoiseTables:
    """Independent N(0, 1) noise of members, each determined by the step and the member's number alone.

    Args:
        params: The parameters, all on one device.
        step: The training step.
        members: Numbers of different members.
    """

    def __init__(self, params: Mapping[str, Tensor], step: Step, members: Sequence[int]) -> None:
        self._shapes = {name: p.shape for name, p in params.items()}
        self._names: dict[torch.dtype, list[str]] = {}
        for name, p in params.items():
            self._names.setdefault(p.dtype, []).append(name)
        self._device = next(iter(params.values())).device
        self._row_of = {member: row for row, member in enumerate(members)}
        self._tables = [
            torch.empty(len(members), sum(self._sizes(names)), device=self._device, dtype=dtype)
            for dtype, names in self._names.items()
        ]
        for row, member in enumerate(members):
            generator = step.generator(member, self._device)
            for table in self._tables:
                table[row].normal_(generator=generator)

    def row(self, member: int) -> Params:
        """Returns the noise of one member, like each parameter."""
        return self._as_params(lambda table: table[self._row_of[member]])

    def rows(self, members: Sequence[tuple[int, bool]]) -> Params:
        """Returns the noise of several members, stacked ``[n, *shape]``.

        Args:
            members: For each whose noise it takes, and whether the opposite of it.
        """
        order = [self._row_of[source] for source, _ in members]
        signs = torch.tensor([-1.0 if negative else 1.0 for _, negative in members])[:, None]
        index, factors = sent(torch.tensor(order), self._device), sent(signs, self._device)
        return self._as_params(lambda table: table[index] * factors.to(table.dtype))

    def weighted_sum(self, weights: Tensor) -> Params:
        """Returns the sum of all noise, each member's times its weight of ``[n]``, like each parameter."""
        return self._as_params(lambda table: weights.to(table.dtype) @ table)

    def weighted_sum_of_squares(self, weights: Tensor) -> Params:
        """Returns the same sum of the squares of the noise less 1."""
        return self._as_params(lambda table: weights.to(table.dtype) @ (table.square() - 1))

    def _as_params(self, of_table: Callable[[Tensor], Tensor]) -> Params:
        """Takes the parameters apart in what a function makes of each table, whose last dimension is the columns."""
        parts: Params = {}
        for names, table in zip(self._names.values(), self._tables, strict=True):
            columns = of_table(table).split(self._sizes(names), dim=-1)
            parts |= {
                n: c.unflatten(-1, s) if (s := self._shapes[n]) else c.squeeze(-1)
                for n, c in zip(names, columns, strict=True)
            }
        return {name: parts[name] for name in self._shapes}

    def _sizes(self, names: Sequence[str]) -> list[int]:
        return [self._shapes[name].numel() for name in names]


def members_that_fit(params: Mapping[str, Tensor], size: int) -> int:
    """Counts the members whose noise takes at most so many bytes, at least 1."""
    return max(1, size // sum(p.numel() * p.element_size() for p in params.values()))
