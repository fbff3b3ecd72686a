"""Fixed numbers of rows, for steps in which no value can be read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_SPARE = 1.25
"""Rows that :meth:`Buckets.next_sizes` leaves room for, as a multiple of those that were wanted."""


class Buckets:
    """Fixed numbers of elements of nodes to bound, where only some elements are wanted; see :func:`fixed_sizes`.

    Args:
        sizes: The numbers, by the name of the node, for the whole batch that is bounded at once.

    Attributes:
        wanted: The largest number of elements that were wanted at once, 0-dim, by the name of the node.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.wanted: dict[str, Tensor] = {}
        self._overflow: Tensor | None = None
        self._elements: dict[str, int] = {}

    @property
    def overflow(self) -> Tensor:
        """True, 0-dim, if a size did not suffice; elements beyond it kept the bounds that they had."""
        return torch.zeros((), dtype=torch.bool) if self._overflow is None else self._overflow

    def chosen(self, name: str, wanted: Tensor) -> Tensor | None:
        """Finds the elements of a node to bound.

        Args:
            name: The node.
            wanted: Which elements are wanted, bool.

        Returns:
            Indices of wanted elements in ``wanted.flatten()``, as many as the size, filled up with an index past the
            last; None if there is no smaller size than all.
        """
        number, elements = wanted.sum(), wanted.numel()
        before = self.wanted.get(name)
        self.wanted[name] = number if before is None else torch.maximum(number, before)
        self._elements[name] = elements
        size = self.sizes.get(name, elements)
        if size >= elements:
            return None
        exceeds = number > size
        self._overflow = exceeds if self._overflow is None else self._overflow | exceeds
        return wanted.flatten().nonzero_static(size=size, fill_value=elements).squeeze(1)

    def next_sizes(self) -> dict[str, int]:
        """Reads the numbers that were wanted; returns the size of the bucket that holds a quarter more of each.

        Sizes are the number of a node's elements divided by powers of 2, so that they change rarely.
        """
        sizes = {}
        for name, number in self.wanted.items():
            size, needed = self._elements[name], max(1, int(_SPARE * number.item()))
            while -(-size // 2) >= needed and size > 1:
                size = -(-size // 2)
            sizes[name] = size
        return sizes


_current: ContextVar[Buckets | None] = ContextVar("buckets", default=None)


def current_buckets() -> Buckets | None:
    """Returns the buckets of the innermost :func:`fixed_sizes`, if any."""
    return _current.get()


@contextmanager
def fixed_sizes(sizes: Mapping[str, int] | Buckets) -> Iterator[Buckets]:
    """Lets ``BackSubstitution.bounds_where`` bound fixed numbers of elements, so that no number is read from a device.

    A step recorded in a CUDA graph needs that. Where more elements are wanted than fit, the others keep the bounds that
    they had, which are sound, and ``overflow`` of the result is true. Nodes without a size are bounded as a whole, and
    their wanted elements counted: with an empty mapping one finds what :meth:`Buckets.next_sizes` needs.

    Args:
        sizes: How many elements of each node to bound, by its name (that of an activation's input), or buckets to go on
            with.

    Example:
        >>> from gls_lightning.bounds import Box, fixed_sizes, margin_specification, trace
        >>> from gls_lightning.relaxations import DeepPoly
        >>> from torch.nn import Linear, ReLU, Sequential
        >>> network = Sequential(Linear(2, 8), ReLU(), Linear(8, 8), ReLU(), Linear(8, 2))
        >>> problem = trace(network, (2,)), network.state_dict(), Box.around(torch.rand(5, 2), 0.1)
        >>> with fixed_sizes({}) as buckets:
        ...     bounds = DeepPoly(skip_ibp_stable="auto").preactivation_bounds(*problem)
        >>> list(buckets.wanted), bool(buckets.overflow)
        (['2'], False)
    """
    buckets = sizes if isinstance(sizes, Buckets) else Buckets(sizes)
    token = _current.set(buckets)
    try:
        yield buckets
    finally:
        _current.reset(token)
