"""Recordings of what a GPU does, to be replayed without Python in between."""

from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor

from gls_lightning.private_names import of_torch

WARM_UPS = 2
"""Evaluations before a recording: libraries choose and load their kernels, and constants are copied to the device."""


class CannotRecordError(Exception):
    """An evaluation cannot be recorded; the message says why."""


class Recorder(Protocol):
    """Records functions of tensors that stay where they are."""

    def __call__(self, function: Callable[[], list[Tensor]]) -> tuple[list[Tensor], Callable[[], object]]:
        """Records a function.

        Returns:
            The tensors that the function returns, and a function that computes them again, in place, from what its
            inputs hold then.

        Raises:
            CannotRecordError: The function does something that a recording cannot hold.
        """


class CudaRecorder:
    """Records CUDA graphs, which share their memory: their results are to be copied before the next one is replayed.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: WeakSet[torch.cuda.CUDAGraph] = WeakSet()

    def __call__(self, function: Callable[[], list[Tensor]]) -> tuple[list[Tensor], Callable[[], object]]:
        """See :class:`Recorder`."""
        present = torch.cuda.current_stream(self._stream.device)
        self._warm_up(function, present)
        if not self._graphs:  # PyTorch refuses a pool whose graphs are gone as long as a tensor lives in it
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            # Threads that pin the memory of the next batches may go on meanwhile.
            with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                outputs = function()
        except Exception as error:
            torch.cuda.set_stream(present)  # which PyTorch does not where a recording fails
            raise CannotRecordError(str(error.__context__ or error).partition("\n")[0]) from error
        self._graphs.add(graph)
        return outputs, graph.replay

    def _warm_up(self, function: Callable[[], list[Tensor]], present: torch.cuda.Stream) -> None:
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                function()
            # A recording that fails midway would leave PyTorch's generators unusable, so it is refused before.
            with NothingWaits():
                function()
        present.wait_stream(self._stream)


class NothingWaits(of_torch.DispatchMode):
    """Refuses operations that read a value of a device or copy between devices.

    Raises:
        CannotRecordError: At such an operation.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Applies an operation, and looks at it."""
        name = func.overloadpacket.__name__
        if name in _WAITING or (name == "index" and any(_is_mask(index) for index in args[1])):
            raise CannotRecordError(f"{name} reads values of tensors")
        result = func(*args, **(kwargs or {}))
        devices = {leaf.device.type for leaf in of_torch.tree_flatten((args, result))[0] if isinstance(leaf, Tensor)}
        if name in ("_to_copy", "copy_") and len(devices) > 1:
            raise CannotRecordError("a tensor is copied from one device to another")
        return result


def _is_mask(index: Tensor | None) -> bool:
    """Says whether an index is a mask, whose elements are counted below the operation that takes it."""
    return index is not None and index.dtype in (torch.bool, torch.uint8)


_WAITING = frozenset(
    (
        "_local_scalar_dense",
        "is_nonzero",
        "equal",
        "nonzero",
        "masked_select",
        "_unique",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "unique_dim_consecutive",
        "bincount",
    )
)
"""Operations whose results Python reads, or whose shapes depend on values."""

RECORDERS: dict[str, Callable[[torch.device], Recorder]] = {"cuda": CudaRecorder}
"""Makes a recorder for a device, by the device's type."""
