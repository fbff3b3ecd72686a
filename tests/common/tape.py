"""A stand-in on the CPU for a CUDA graph: the operations of a function, applied again without its Python code."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from gls_lightning.recorder import NothingWaits


class TapeRecorder:
    """Records every operation that a function applies to tensors, those of its backward passes included.

    What the function does in Python alone happens once, as with a CUDA graph: a number that it took from outside stays
    the same in all replays.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.recorded = 0
        self.replayed = 0

    def __call__(self, function: Callable[[], list[Tensor]]) -> tuple[list[Tensor], Callable[[], None]]:
        self.recorded += 1
        with NothingWaits():
            function()
        with _Tape() as tape:
            outputs = function()

        def replay() -> None:
            self.replayed += 1
            with torch.no_grad():
                tape.replay()

        return outputs, replay


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not _is_view(func):
            self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(_pytree.tree_leaves(result), _pytree.tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def _is_view(func: Any) -> bool:
    """Says whether an operation's result is a view of its input, which changes with it."""
    aliases = [returned.alias_info for returned in func._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)
